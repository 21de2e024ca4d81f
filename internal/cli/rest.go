package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// restClient speaks the server's REST API.
type restClient struct {
	base string
	http *http.Client
}

var errNoREST = connect.NewError(connect.CodeUnimplemented, errors.New("there is no REST path for this; unset TCTL_TRANSPORT"))

// do sends a request and decodes the answer into out.
func (c *restClient) do(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	target := c.base + "/v2/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, readError(res.Status, text)
	}
	return text, nil
}

// readError is the inverse of what the server writes: {code, message, details}.
func readError(status string, text []byte) error {
	var body struct {
		Code    int
		Message string
		Details []json.RawMessage
	}
	if err := json.Unmarshal(text, &body); err != nil || body.Code == 0 {
		return fmt.Errorf("the server answered %s", status)
	}
	out := connect.NewError(connect.Code(body.Code), errors.New(body.Message))
	for _, d := range body.Details {
		var fields map[string]json.RawMessage
		if json.Unmarshal(d, &fields) != nil || string(fields["@type"]) != `"type.googleapis.com/isthmus.v1.Problems"` {
			continue
		}
		problems := &isthmusv1.Problems{}
		if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(d, problems) != nil {
			continue
		}
		if detail, err := connect.NewErrorDetail(problems); err == nil {
			out.AddDetail(detail)
		}
	}
	return out
}

// message sends a request whose answer is a message.
func message[T proto.Message](ctx context.Context, c *restClient, method, path string, query url.Values, body proto.Message, out T) (T, error) {
	var text []byte
	var err error
	if body != nil {
		if text, err = protojson.Marshal(body); err != nil {
			return out, err
		}
	}
	if text, err = c.do(ctx, method, path, query, text); err != nil {
		return out, err
	}
	return out, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, out)
}

func flags(on map[string]bool) url.Values {
	q := url.Values{}
	for name, set := range on {
		if set {
			q.Set(name, "true")
		}
	}
	return q
}

// Apply implements the client. A batch goes as the documents that people write.
func (c *restClient) Apply(ctx context.Context, req *isthmusv1.ApplyRequest) (*isthmusv1.ApplyResponse, error) {
	q := flags(map[string]bool{"dryRun": req.GetDryRun()})
	if req.GetWhy() != "" {
		q.Set("why", req.GetWhy())
	}
	var all []*resource.Resource
	for _, in := range req.GetResources() {
		r, problems := resource.Unpack(in)
		if len(problems) > 0 {
			return nil, errors.New(problems[0].String())
		}
		r.Etag = in.GetEtag()
		all = append(all, r)
	}
	docs, err := resource.Encode(all)
	if err != nil {
		return nil, err
	}
	text, err := c.do(ctx, http.MethodPost, "apply", q, docs)
	if err != nil {
		return nil, err
	}
	out := &isthmusv1.ApplyResponse{}
	return out, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, out)
}

// Get implements the client.
func (c *restClient) Get(ctx context.Context, req *isthmusv1.GetRequest) (*isthmusv1.GetResponse, error) {
	text, err := c.do(ctx, http.MethodGet, req.GetFqn(), nil, nil)
	if err != nil {
		return nil, err
	}
	r, err := fromFlat(req.GetFqn(), text)
	return &isthmusv1.GetResponse{Resource: r}, err
}

// List implements the client. REST lists one kind of one parent.
func (c *restClient) List(ctx context.Context, req *isthmusv1.ListRequest) (*isthmusv1.ListResponse, error) {
	if req.GetRecursive() || req.GetPlural() == "" {
		return nil, errNoREST
	}
	path := req.GetPlural()
	if req.GetParent() != "" {
		path = req.GetParent() + "/" + path
	}
	text, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	var all map[string][]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	out := &isthmusv1.ListResponse{}
	for _, one := range all[req.GetPlural()] {
		var head struct{ FQN string }
		if err := json.Unmarshal(one, &head); err != nil {
			return nil, err
		}
		r, err := fromFlat(head.FQN, one)
		if err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, r)
	}
	return out, nil
}

// fromFlat is a resource of REST's flat JSON.
func fromFlat(name string, text []byte) (*isthmusv1.Resource, error) {
	fqn, kind, err := resource.ParseFQN(name)
	if err != nil {
		return nil, err
	}
	spec := kind.Spec()
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, spec); err != nil {
		return nil, fmt.Errorf("%s: %w", fqn, err)
	}
	var head struct {
		Etag     string
		Metadata *isthmusv1.ObjectMeta // of Istio's kinds
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, err
	}
	return resource.Pack(&resource.Resource{Kind: kind, FQN: fqn, Spec: spec, Object: head.Metadata, Etag: head.Etag})
}

// Delete implements the client.
func (c *restClient) Delete(ctx context.Context, req *isthmusv1.DeleteRequest) (*isthmusv1.DeleteResponse, error) {
	return message(ctx, c, http.MethodPost, "delete", nil, req, &isthmusv1.DeleteResponse{})
}

// Status implements the client.
func (c *restClient) Status(ctx context.Context, req *isthmusv1.StatusRequest) (*isthmusv1.StatusResponse, error) {
	q := flags(map[string]bool{"recursive": req.GetRecursive()})
	return message(ctx, c, http.MethodGet, req.GetFqn()+"/status", q, nil, &isthmusv1.StatusResponse{})
}

// History implements the client.
func (c *restClient) History(ctx context.Context, req *isthmusv1.HistoryRequest) (*isthmusv1.HistoryResponse, error) {
	q := flags(map[string]bool{"recursive": req.GetRecursive()})
	q.Set("limit", strconv.Itoa(int(req.GetLimit())))
	return message(ctx, c, http.MethodGet, req.GetFqn()+"/history", q, nil, &isthmusv1.HistoryResponse{})
}

// Watch implements the client.
func (c *restClient) Watch(context.Context, *isthmusv1.WatchRequest) (*connect.ServerStreamForClient[isthmusv1.WatchResponse], error) {
	return nil, errNoREST
}

// Plan implements the client.
func (c *restClient) Plan(context.Context, *isthmusv1.PlanRequest) (*isthmusv1.PlanResponse, error) {
	return nil, errNoREST
}

// Login implements the client.
func (c *restClient) Login(ctx context.Context, req *isthmusv1.LoginRequest) (*isthmusv1.LoginResponse, error) {
	return message(ctx, c, http.MethodPost, "login", nil, req, &isthmusv1.LoginResponse{})
}

// WhoAmI implements the client.
func (c *restClient) WhoAmI(ctx context.Context, _ *isthmusv1.WhoAmIRequest) (*isthmusv1.WhoAmIResponse, error) {
	return message(ctx, c, http.MethodGet, "whoami", nil, nil, &isthmusv1.WhoAmIResponse{})
}

// Version implements the client.
func (c *restClient) Version(ctx context.Context, _ *isthmusv1.VersionRequest) (*isthmusv1.VersionResponse, error) {
	return message(ctx, c, http.MethodGet, "version", nil, nil, &isthmusv1.VersionResponse{})
}

// CreateServiceAccountKey implements the client.
func (c *restClient) CreateServiceAccountKey(ctx context.Context, req *isthmusv1.CreateServiceAccountKeyRequest) (*isthmusv1.CreateServiceAccountKeyResponse, error) {
	return message(ctx, c, http.MethodPost, req.GetFqn()+"/keys", nil, nil, &isthmusv1.CreateServiceAccountKeyResponse{})
}

// DeleteServiceAccountKey implements the client.
func (c *restClient) DeleteServiceAccountKey(ctx context.Context, req *isthmusv1.DeleteServiceAccountKeyRequest) (*isthmusv1.DeleteServiceAccountKeyResponse, error) {
	return message(ctx, c, http.MethodDelete, req.GetFqn()+"/keys/"+url.PathEscape(req.GetKeyId()), nil, nil, &isthmusv1.DeleteServiceAccountKeyResponse{})
}
