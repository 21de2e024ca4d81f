package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// The fields of a stored resource, in protobuf's wire format. Its name is in its key, its revision beside it.
const (
	fieldKind    protowire.Number = 1
	fieldEtag    protowire.Number = 2
	fieldCreated protowire.Number = 3
	fieldSpec    protowire.Number = 4
	fieldObject  protowire.Number = 5
)

// encodeWrites turns changes into writes in key order.
func encodeWrites(changes map[Key]any) ([]Write, error) {
	ws := make([]Write, 0, len(changes))
	for _, k := range slices.Sorted(maps.Keys(changes)) {
		w := Write{Key: k}
		if v := changes[k]; v != nil {
			data, err := encode(v)
			if err != nil {
				return nil, fmt.Errorf("encode %q: %w", k, err)
			}
			w.Data = data
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// encode returns bytes that are never nil.
func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case *resource.Resource:
		return encodeResource(v)
	case *Claim:
		return json.Marshal(v)
	case *StatusRecord:
		return json.Marshal(v)
	case proto.Message:
		b, err := proto.Marshal(v)
		return append([]byte{}, b...), err
	case []byte:
		return append([]byte{}, v...), nil
	}
	return nil, fmt.Errorf("no encoding for %T", v)
}

func encodeResource(r *resource.Resource) ([]byte, error) {
	spec, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Spec)
	if err != nil {
		return nil, err
	}
	var b []byte
	b = protowire.AppendTag(b, fieldKind, protowire.BytesType)
	b = protowire.AppendString(b, r.Kind.ID())
	b = protowire.AppendTag(b, fieldEtag, protowire.BytesType)
	b = protowire.AppendString(b, r.Etag)
	b = protowire.AppendTag(b, fieldCreated, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(r.Created))
	b = protowire.AppendTag(b, fieldSpec, protowire.BytesType)
	b = protowire.AppendBytes(b, spec)
	if r.Object == nil {
		return b, nil
	}
	object, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Object)
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(protowire.AppendTag(b, fieldObject, protowire.BytesType), object), nil
}

// decode is the value of a key that the record of a revision wrote.
func decode(k Key, v Value, cfg *Config) (any, error) {
	out, err := decodeAny(k, v, cfg)
	if err != nil {
		return nil, fmt.Errorf("decode %q of revision %d: %w", k, v.Revision, err)
	}
	return out, nil
}

func decodeAny(k Key, v Value, cfg *Config) (any, error) {
	prefix, _, _ := strings.Cut(string(k), "/")
	switch prefix {
	case "r":
		return decodeResource(k.FQN(), v, cfg)
	case "f":
		f := new(isthmusv1.Fact)
		return f, proto.Unmarshal(v.Data, f)
	case "c":
		c := new(Claim)
		return c, json.Unmarshal(v.Data, c)
	case "t":
		s := new(StatusRecord)
		return s, json.Unmarshal(v.Data, s)
	default:
		return v.Data, nil
	}
}

func decodeResource(fqn resource.FQN, v Value, cfg *Config) (*resource.Resource, error) {
	r := &resource.Resource{FQN: fqn, Revision: v.Revision}
	var kind string
	var spec []byte
	for b := v.Data; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return nil, protowire.ParseError(m)
		}
		field := b[n : n+m]
		switch num {
		case fieldKind:
			kind, _ = protowire.ConsumeString(field)
		case fieldEtag:
			r.Etag, _ = protowire.ConsumeString(field)
		case fieldCreated:
			created, _ := protowire.ConsumeVarint(field)
			r.Created = int64(created)
		case fieldSpec:
			spec, _ = protowire.ConsumeBytes(field)
		case fieldObject:
			object, _ := protowire.ConsumeBytes(field)
			r.Object = new(isthmusv1.ObjectMeta)
			if err := proto.Unmarshal(object, r.Object); err != nil {
				return nil, err
			}
		}
		b = b[n+m:]
	}
	if r.Kind = cfg.Kind(kind); r.Kind == nil {
		return nil, fmt.Errorf("kind %q is not known to this version", kind)
	}
	r.Spec = r.Kind.Spec()
	return r, proto.Unmarshal(spec, r.Spec)
}

// decodeWrites is the inverse of encodeWrites.
func decodeWrites(rec *Record, cfg *Config) (map[Key]any, error) {
	changes := make(map[Key]any, len(rec.Writes))
	for _, w := range rec.Writes {
		if w.Data == nil {
			changes[w.Key] = nil
			continue
		}
		v, err := decode(w.Key, Value{Revision: rec.Revision, Data: w.Data}, cfg)
		if err != nil {
			return nil, err
		}
		changes[w.Key] = v
	}
	return changes, nil
}
