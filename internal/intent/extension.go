package intent

// Extension is a WebAssembly module in the proxies of a gateway, where it meets the requests of all hosts of the pods, or in
// sidecars.
type Extension struct {
	// Name is unique among the extensions of the same proxies.
	Name string
	// URL of the module: oci, https, http, or file for one in the proxy's container.
	URL string
	// PullPolicy is IfNotPresent, Always, or empty; PullSecret is in the gateway's namespace.
	PullPolicy, PullSecret string
	// Phase is AUTHN, AUTHZ, STATS, or empty for behind all others. Within one, higher priorities come first.
	Phase    string
	Priority int32
	// Optional lets requests pass while the module cannot be fetched or has failed; otherwise they are refused.
	Optional bool
	// Config is given to the module: what JSON can say.
	Config map[string]any
	Env    []ExtensionEnv
	// Ports of the pods on which requests meet it; without any, all.
	Ports []uint32
}

// ExtensionEnv is a variable of the module's environment, with a value or from the proxy's own environment.
type ExtensionEnv struct {
	Name, Value string
	FromHost    bool
}
