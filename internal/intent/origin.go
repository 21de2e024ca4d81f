package intent

// Origin is a service that a gateway calls with TLS of its own. Routes of the gateway know it as Host, which means nothing
// to anybody else.
type Origin struct {
	Name, Host string
	// Address and Port to connect to, a host name that the cluster resolves.
	Address string
	Port    uint32
	HTTP    bool
	TLS     *ClientTLS
}
