package main

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// What Envoy asks an authorizer and hears from it (envoy.service.auth.v3), as much as the tests need. Two messages are not
// worth a generator, nor the package of all of Envoy's.

// checkRequest is a CheckRequest.
type checkRequest struct {
	Method, Path, Host, Scheme string
	Headers                    map[string]string
	Body                       string
	Extensions                 map[string]string
}

// checkResponse is a CheckResponse.
type checkResponse struct {
	Allowed bool
	Status  int               // of a refusal
	Headers map[string]string // for the application if allowed, else for the client
	Body    string
}

// codec speaks protobuf for the two.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) {
	if r, ok := v.(*checkResponse); ok {
		return r.marshal(), nil
	}
	return nil, fmt.Errorf("marshal %T", v)
}

func (codec) Unmarshal(b []byte, v any) error {
	if r, ok := v.(*checkRequest); ok {
		return r.unmarshal(b)
	}
	return fmt.Errorf("unmarshal %T", v)
}

func (r *checkRequest) unmarshal(b []byte) error {
	r.Headers, r.Extensions = map[string]string{}, map[string]string{}
	return fields(b, map[protowire.Number]func([]byte) error{1: func(attributes []byte) error {
		return fields(attributes, map[protowire.Number]func([]byte) error{
			4: func(request []byte) error {
				return fields(request, map[protowire.Number]func([]byte) error{2: r.http})
			},
			10: entry(r.Extensions),
		})
	}})
}

func (r *checkRequest) http(b []byte) error {
	return fields(b, map[protowire.Number]func([]byte) error{
		2: text(&r.Method), 3: entry(r.Headers), 4: text(&r.Path), 5: text(&r.Host), 6: text(&r.Scheme), 11: text(&r.Body),
	})
}

// fields calls f for each field of its number whose value is bytes, and skips the others.
func fields(b []byte, f map[protowire.Number]func([]byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if g := f[number]; g != nil && kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			if err := g(v); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}

func text(into *string) func([]byte) error {
	return func(b []byte) error { *into = string(b); return nil }
}

func entry(into map[string]string) func([]byte) error {
	return func(b []byte) error {
		var k, v string
		err := fields(b, map[protowire.Number]func([]byte) error{1: text(&k), 2: text(&v)})
		into[k] = v
		return err
	}
}

func (r *checkResponse) marshal() []byte {
	code := uint64(0) // OK
	if !r.Allowed {
		code = 7 // PERMISSION_DENIED
	}
	out := message(nil, 1, number(nil, 1, code))
	var answer []byte
	if !r.Allowed {
		answer = message(answer, 1, number(nil, 1, uint64(r.Status)))
	}
	names := make([]string, 0, len(r.Headers))
	for name := range r.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		header := message(message(nil, 1, []byte(name)), 2, []byte(r.Headers[name]))
		answer = message(answer, 2, message(nil, 1, header))
	}
	if r.Allowed {
		return message(out, 3, answer)
	}
	return message(out, 2, message(answer, 3, []byte(r.Body)))
}

func message(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func number(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}
