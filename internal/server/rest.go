package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// rest is TSB's REST API: the path behind /v2/ is an FQN. Every verb is one of the service's methods; here is only
// the form.
//
//	GET    /v2/<parent>/<plural>   {"<plural>": […]}
//	POST   /v2/<parent>/<plural>   {"name": "x", "<singular>": {…}}
//	GET    /v2/<fqn>               PUT (with etag), DELETE (?force=true)
//	GET    /v2/<fqn>/status        also /history; ?recursive=true
//	POST   /v2/<fqn>/keys          makes a key of a cluster's service account; DELETE /v2/<fqn>/keys/<id>
//	POST   /v2/apply               YAML or JSON documents as tctl takes them, in one transaction; ?dryRun=true
//	POST   /v2/delete              {"fqns": […], "force": …}, in one transaction
//	POST   /v2/login               GET /v2/whoami, /v2/version
type rest struct{ s *Server }

// ServeHTTP implements http.Handler.
func (h *rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.s.guard(r.Context(), "REST "+r.Method, func(ctx context.Context) error {
		body, err := readBody(w, r)
		if err != nil {
			return err
		}
		answer, err := h.route(ctx, r, body)
		if err != nil {
			return err
		}
		return writeJSON(w, answer)
	})
	if err != nil {
		e, _ := errors.AsType[*connect.Error](err)
		writeError(w, e)
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request is larger than the limit of %d bytes", tooLarge.Limit))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read the body: %w", errInvalid, err)
	}
	return body, nil
}

// route finds what the path and the method ask for.
func (h *rest) route(ctx context.Context, r *http.Request, body []byte) (any, error) {
	if err := checkQuery(r.URL.Query()); err != nil {
		return nil, h.ifSignedIn(ctx, err)
	}
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if f := h.fixed(r.Method, path); f != nil {
		return f(ctx, r, body)
	}
	if fqn := resource.FQN(path); fqn.Plural() == "keys" && r.Method == http.MethodDelete {
		return h.s.DeleteServiceAccountKey(ctx, &isthmusv1.DeleteServiceAccountKeyRequest{Fqn: string(fqn.Parent()), KeyId: fqn.Name()})
	}
	segments := strings.Count(path, "/") + 1
	parent, last := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, last = path[:i], path[i+1:]
	}
	switch {
	case segments%2 == 0:
		return h.one(ctx, r, path, body)
	case parent != "" && last == "status" && r.Method == http.MethodGet:
		return h.s.Status(ctx, &isthmusv1.StatusRequest{Fqn: parent, Recursive: asked(r, "recursive")})
	case parent != "" && last == "history" && r.Method == http.MethodGet:
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		return h.s.History(ctx, &isthmusv1.HistoryRequest{Fqn: parent, Recursive: asked(r, "recursive"), Limit: int32(min(max(limit, 0), maxHistory))})
	case parent != "" && last == "keys" && r.Method == http.MethodPost:
		return h.s.CreateServiceAccountKey(ctx, &isthmusv1.CreateServiceAccountKeyRequest{Fqn: parent})
	}
	return h.many(ctx, r, parent, last, body)
}

type route func(ctx context.Context, r *http.Request, body []byte) (any, error)

// fixed are the paths that are not names.
func (h *rest) fixed(method, path string) route {
	switch method + " " + path {
	case "POST login":
		return func(ctx context.Context, _ *http.Request, body []byte) (any, error) {
			req := &isthmusv1.LoginRequest{}
			if err := unmarshal(body, req); err != nil {
				return nil, err
			}
			return h.s.Login(ctx, req)
		}
	case "GET whoami":
		return func(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
			return h.s.WhoAmI(ctx, &isthmusv1.WhoAmIRequest{})
		}
	case "GET version":
		return func(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
			return h.s.Version(ctx, &isthmusv1.VersionRequest{})
		}
	case "POST apply":
		return h.apply
	case "POST delete":
		return func(ctx context.Context, _ *http.Request, body []byte) (any, error) {
			req := &isthmusv1.DeleteRequest{}
			if err := unmarshal(body, req); err != nil {
				return nil, h.ifSignedIn(ctx, err)
			}
			return h.s.Delete(ctx, req)
		}
	}
	return nil
}

// ifSignedIn keeps from somebody without credentials what is wrong with the request.
func (h *rest) ifSignedIn(ctx context.Context, err error) error {
	if refused := authz.Allow(ctx, authz.Self, ""); refused != nil {
		return refused
	}
	return err
}

// one serves /v2/<fqn>.
func (h *rest) one(ctx context.Context, r *http.Request, path string, body []byte) (any, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		res, err := h.s.Get(ctx, &isthmusv1.GetRequest{Fqn: path})
		if err != nil {
			return nil, err
		}
		return flat(res.GetResource())
	case http.MethodPut:
		return h.put(ctx, path, body)
	case http.MethodDelete:
		_, err := h.s.Delete(ctx, &isthmusv1.DeleteRequest{Fqns: []string{path}, Force: asked(r, "force"), Etag: r.URL.Query().Get("etag")})
		return json.RawMessage("{}"), err
	}
	return nil, h.ifSignedIn(ctx, errMethod(r))
}

// many serves /v2/<parent>/<plural>.
func (h *rest) many(ctx context.Context, r *http.Request, parent, plural string, body []byte) (any, error) {
	_, kind, err := resource.ParseFQN(string(resource.FQN(parent).Child(plural, "x")))
	if err != nil {
		return nil, h.ifSignedIn(ctx, fmt.Errorf("path %q %w: it is neither a name nor a list of a kind", r.URL.Path, store.ErrNotFound))
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return h.list(ctx, parent, plural)
	case http.MethodPost:
		return h.create(ctx, parent, kind, body)
	}
	return nil, h.ifSignedIn(ctx, errMethod(r))
}

func (h *rest) list(ctx context.Context, parent, plural string) (any, error) {
	res, err := h.s.List(ctx, &isthmusv1.ListRequest{Parent: parent, Plural: plural})
	if err != nil {
		return nil, err
	}
	var all []*resource.Resource
	for _, in := range res.GetResources() {
		r, err := resource.Received(in)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return json.RawMessage(resource.EncodeRESTList(plural, all)), nil
}

// create makes a resource of {"name": "x", "<singular>": {…}}.
func (h *rest) create(ctx context.Context, parent string, kind *resource.Kind, body []byte) (any, error) {
	if err := authz.Allow(ctx, authz.Write, resource.FQN(parent).Child(kind.Plural, "x")); err != nil {
		return nil, err
	}
	r, problems := resource.DecodeCreate(kind, resource.FQN(parent), body)
	if len(problems) > 0 {
		return nil, textProblems(problems)
	}
	return h.write(ctx, r, "", isthmusv1.ApplyRequest_MODE_CREATE)
}

// put replaces a resource; the body is the whole of it, etag included.
func (h *rest) put(ctx context.Context, path string, body []byte) (any, error) {
	fqn, err := name(ctx, authz.Write, path)
	if err != nil {
		return nil, err
	}
	_, kind, err := resource.ParseFQN(string(fqn))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	r, etag, problems := resource.DecodeREST(kind, fqn, body)
	if len(problems) > 0 {
		return nil, textProblems(problems)
	}
	return h.write(ctx, r, etag, isthmusv1.ApplyRequest_MODE_UPDATE)
}

func (h *rest) write(ctx context.Context, r *resource.Resource, etag string, mode isthmusv1.ApplyRequest_Mode) (any, error) {
	in, err := resource.Pack(r)
	if err != nil {
		return nil, err
	}
	in.Etag = etag
	res, err := h.s.Apply(ctx, &isthmusv1.ApplyRequest{Resources: []*isthmusv1.Resource{in}, Mode: mode})
	if err != nil {
		return nil, err
	}
	return flat(res.GetResults()[0].GetResource())
}

// flat is a resource as REST answers it.
func flat(in *isthmusv1.Resource) (json.RawMessage, error) {
	r, err := resource.Received(in)
	if err != nil {
		return nil, err
	}
	return resource.EncodeREST(r), nil
}

// textProblems is what is wrong with the text of a request.
func textProblems(found []resource.Problem) error {
	e := &problemsError{}
	for _, p := range found {
		message := p.Message
		if p.Line > 0 {
			message = fmt.Sprintf("line %d: %s", p.Line, message)
		}
		e.problems = append(e.problems, invalidProblem(max(p.Document-1, 0), p.Resource, p.Field, message))
	}
	return e
}

// apply reads documents as tctl does.
func (h *rest) apply(ctx context.Context, r *http.Request, body []byte) (any, error) {
	if err := authz.Allow(ctx, authz.Self, ""); err != nil {
		return nil, err
	}
	decoded, problems := resource.Decode([]resource.File{{Name: "request", Data: body}})
	req := &isthmusv1.ApplyRequest{DryRun: asked(r, "dryRun"), Why: r.URL.Query().Get("why")}
	for _, d := range decoded {
		if d.Resource == nil {
			problems = append(problems, d.Refusal())
			continue
		}
		in, err := resource.Pack(d.Resource)
		if err != nil {
			return nil, err
		}
		in.Etag = d.Etag
		req.Resources = append(req.Resources, in)
	}
	if len(problems) > 0 {
		return nil, textProblems(problems)
	}
	return h.s.Apply(ctx, req)
}

// checkQuery refuses a value that would otherwise be taken for its opposite: with ?dryRun=yes somebody expects that nothing is
// stored.
func checkQuery(q url.Values) error {
	for _, name := range []string{"dryRun", "force", "recursive"} {
		if v := q.Get(name); v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				return fmt.Errorf("%w: query parameter %s=%q is neither true nor false", errInvalid, name, v)
			}
		}
	}
	if v := q.Get("limit"); v != "" {
		if _, err := strconv.ParseUint(v, 10, 31); err != nil {
			return fmt.Errorf("%w: query parameter limit=%q is not a number", errInvalid, v)
		}
	}
	return nil
}

// asked says whether a switch is on: with true, or just by its name.
func asked(r *http.Request, name string) bool {
	q := r.URL.Query()
	if q.Has(name) && q.Get(name) == "" {
		return true
	}
	on, _ := strconv.ParseBool(q.Get(name)) // checkQuery has looked at it
	return on
}

func errMethod(r *http.Request) error {
	return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("%s is not possible here", r.Method))
}

func unmarshal(body []byte, m proto.Message) error {
	if err := protojson.Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	return nil
}

// writeJSON writes a protobuf message or a plain value.
func writeJSON(w http.ResponseWriter, v any) error {
	var text []byte
	var err error
	if m, ok := v.(proto.Message); ok {
		text, err = protojson.MarshalOptions{EmitUnpopulated: false}.Marshal(m)
	} else {
		text, err = json.Marshal(v)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(append(text, '\n'))
	return err
}

// writeError writes {code, message, details} as gRPC's gateway does.
func writeError(w http.ResponseWriter, e *connect.Error) {
	body := struct {
		Code    int               `json:"code"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}{int(e.Code()), e.Message(), []json.RawMessage{}}
	for _, d := range e.Details() {
		if m, err := d.Value(); err == nil {
			body.Details = append(body.Details, detail(d.Type(), m))
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte(`{"code":13,"message":"internal error","details":[]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if e.Code() == connect.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", `Basic realm="isthmus"`)
	}
	w.WriteHeader(httpStatus(e.Code()))
	_, _ = w.Write(append(text, '\n'))
}

// detail is a message with its type, as JSON.
func detail(name string, m proto.Message) json.RawMessage {
	fields := map[string]any{}
	if text, err := protojson.Marshal(m); err == nil {
		_ = json.Unmarshal(text, &fields)
	}
	fields["@type"] = "type.googleapis.com/" + name
	text, err := json.Marshal(fields)
	if err != nil {
		return json.RawMessage("{}")
	}
	return text
}

// httpStatus is the status that gRPC's gateway has for a code.
func httpStatus(c connect.Code) int {
	switch c {
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeOutOfRange:
		return http.StatusBadRequest
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted:
		return http.StatusConflict
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeCanceled:
		return 499
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
