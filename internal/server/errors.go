package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// errInvalid is a request that is wrong in itself; the text says how.
var errInvalid = errors.New("invalid request")

// problem is one mistake in a batch, and the code that it has when it is the first one.
type problem struct {
	code connect.Code
	*isthmusv1.Problem
}

// problemsError is everything that is wrong with a batch.
type problemsError struct{ problems []problem }

// Error lists the first few.
func (e *problemsError) Error() string {
	const most = 5
	var parts []string
	for i, p := range e.problems {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.problems)-most))
			break
		}
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		if p.Fqn != "" {
			text = p.Fqn + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// invalidProblem is a mistake in the text of a resource.
func invalidProblem(index int, fqn resource.FQN, field, message string) problem {
	return newProblem(connect.CodeInvalidArgument, index, fqn, field, message)
}

func newProblem(code connect.Code, index int, fqn resource.FQN, field, message string) problem {
	return problem{code, &isthmusv1.Problem{Fqn: string(fqn), Field: field, Message: message, Index: int32(index)}}
}

// rpcError is the only place where an error gets a code. What it does not know is internal: logged whole, told to
// nobody.
func (s *Server) rpcError(ctx context.Context, err error) *connect.Error {
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return known
	}
	if batch, ok := errors.AsType[*problemsError](err); ok {
		return batchError(batch)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		if errors.Is(cause, context.DeadlineExceeded) {
			return connect.NewError(connect.CodeDeadlineExceeded, err)
		}
		return connect.NewError(connect.CodeCanceled, err)
	}
	if code, ok := codeOf(err); ok {
		return connect.NewError(code, err)
	}
	s.log.ErrorContext(ctx, "unexpected error", "error", err)
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

// codeOf knows the errors that callers may see.
func codeOf(err error) (connect.Code, bool) {
	if _, ok := errors.AsType[*credentialError](err); ok {
		if errors.Is(err, errTooManyTries) {
			return connect.CodeResourceExhausted, true
		}
		return connect.CodeUnauthenticated, true
	}
	for _, row := range []struct {
		err  error
		code connect.Code
	}{
		{errInvalid, connect.CodeInvalidArgument},
		{authz.ErrUnauthenticated, connect.CodeUnauthenticated},
		{authz.ErrDenied, connect.CodePermissionDenied},
		{store.ErrNotFound, connect.CodeNotFound},
		{store.ErrExists, connect.CodeAlreadyExists},
		{store.ErrConflict, connect.CodeAborted},
		{store.ErrProtected, connect.CodeFailedPrecondition},
		{store.ErrExpired, connect.CodeOutOfRange},
		{store.ErrClosed, connect.CodeUnavailable},
		{store.ErrUnavailable, connect.CodeUnavailable},
		{store.ErrUnknown, connect.CodeUnavailable},
	} {
		if errors.Is(err, row.err) {
			return row.code, true
		}
	}
	return 0, false
}

// batchError carries all problems as a detail. Its code is that of the first one.
func batchError(e *problemsError) *connect.Error {
	out := connect.NewError(e.problems[0].code, e)
	all := &isthmusv1.Problems{}
	for _, p := range e.problems {
		all.Problems = append(all.Problems, p.Problem)
	}
	if d, err := connect.NewErrorDetail(all); err == nil {
		out.AddDetail(d)
	}
	return out
}

// interceptor gives every handler its caller, its error codes, and a floor below panics.
type interceptor struct{ s *Server }

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		err = i.s.guard(ctx, req.Spec().Procedure, func(ctx context.Context) error {
			res, err = next(ctx, req)
			return err
		})
		if err != nil {
			return nil, err
		}
		return res, nil
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return i.s.guard(ctx, conn.Spec().Procedure, func(ctx context.Context) error { return next(ctx, conn) })
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// guard runs a handler so that neither a panic nor an unknown error gets out of it.
func (s *Server) guard(ctx context.Context, method string, f func(context.Context) error) (err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "panic in a handler", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = connect.NewError(connect.CodeInternal, errors.New("internal error"))
		}
		code := "ok"
		if err != nil {
			code = connect.CodeOf(err).String()
		}
		s.metrics.count(method, code, time.Since(start))
	}()
	if err := f(ctx); err != nil {
		return s.rpcError(ctx, err)
	}
	return nil
}

// errNoPlan is the answer of a server that has no compiler.
var errNoPlan = connect.NewError(connect.CodeUnimplemented, errors.New("this server cannot plan"))
