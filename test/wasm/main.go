//go:build wasip1

// Wasm is a filter for Envoy that scenarios attach to gateways. It speaks the interface "proxy-wasm" 0.2.1 by itself: six
// functions of it are not worth somebody else's kit.
//
// Its configuration is {"name": "x-a", "value": "b", "refuse": "x-c", "panic": "x-d"}: the header x-a: b is added to every
// request and every response; a request that has the header x-c is answered with status 403, and one that has x-d breaks it.
// With "variable": "E" the value is that of the environment variable E.
package main

import (
	"strings"
	"syscall"
	"unsafe"
)

func main() {} // a reactor: only its functions are called

// config of an attachment. Several of them with the same module share one virtual machine.
type config struct{ Name, Value, Refuse, Panic string }

var (
	configs = map[uint32]config{} // by context of an attachment
	parents = map[uint32]uint32{} // context of a request → of its attachment
	given   = map[*byte][]byte{}  // memory that Envoy asked for and has not given back
)

//go:wasmexport proxy_abi_version_0_2_1
func version() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) *byte {
	b := make([]byte, max(size, 1))
	given[&b[0]] = b
	return &b[0]
}

//go:wasmexport proxy_on_context_create
func create(context, parent uint32) {
	if parent != 0 {
		parents[context] = parent
	}
}

//go:wasmexport proxy_on_delete
func remove(context uint32) {
	delete(parents, context)
	delete(configs, context)
}

//go:wasmexport proxy_on_vm_start
func start(_, _ uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func configure(context, size uint32) uint32 {
	const pluginConfiguration = 7
	text := string(buffer(pluginConfiguration, size))
	c := config{field(text, "name"), field(text, "value"), field(text, "refuse"), field(text, "panic")}
	if name := field(text, "variable"); name != "" {
		c.Value, _ = syscall.Getenv(name)
	}
	configs[context] = c
	return 1
}

// field of an object of plain texts. A real parser would make the module twice as large, and Envoy compiles all of it for
// each of its threads.
func field(object, name string) string {
	_, rest, _ := strings.Cut(object, `"`+name+`":`)
	value, _ := strings.CutPrefix(strings.TrimLeft(rest, " "), `"`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

const (
	requestHeaders, responseHeaders = 0, 2

	goOn, stop = 0, 1
)

//go:wasmexport proxy_on_request_headers
func request(context, _, _ uint32) uint32 {
	c := configs[parents[context]]
	if c.Panic != "" && has(requestHeaders, c.Panic) {
		panic("a request told it to")
	}
	if c.Refuse != "" && has(requestHeaders, c.Refuse) {
		body := "refused by an extension"
		sendLocalResponse(403, nil, 0, unsafe.StringData(body), uint32(len(body)), nil, 0, -1)
		return stop
	}
	add(requestHeaders, c)
	return goOn
}

//go:wasmexport proxy_on_response_headers
func response(context, _, _ uint32) uint32 {
	add(responseHeaders, configs[parents[context]])
	return goOn
}

func add(to uint32, c config) {
	if c.Name != "" {
		addHeader(to, unsafe.StringData(c.Name), uint32(len(c.Name)), unsafe.StringData(c.Value), uint32(len(c.Value)))
	}
}

func has(in uint32, name string) bool {
	var value *byte
	var size uint32
	return getHeader(in, unsafe.StringData(name), uint32(len(name)), unsafe.Pointer(&value), unsafe.Pointer(&size)) == 0 && taken(value, size) != nil
}

func buffer(kind, size uint32) []byte {
	var at *byte
	var n uint32
	if getBuffer(kind, 0, size, unsafe.Pointer(&at), unsafe.Pointer(&n)) != 0 {
		return nil
	}
	return taken(at, n)
}

// taken is what Envoy wrote into memory that it was given.
func taken(at *byte, size uint32) []byte {
	b := given[at]
	delete(given, at)
	if b == nil {
		return nil
	}
	return b[:size]
}

//go:wasmimport env proxy_get_buffer_bytes
func getBuffer(kind, from, size uint32, at, n unsafe.Pointer) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeader(in uint32, name *byte, nameSize uint32, value, valueSize unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func addHeader(to uint32, name *byte, nameSize uint32, value *byte, valueSize uint32) uint32

//go:wasmimport env proxy_send_local_response
func sendLocalResponse(status uint32, details *byte, detailsSize uint32, body *byte, bodySize uint32, headers *byte, headersSize uint32, grpc int32) uint32
