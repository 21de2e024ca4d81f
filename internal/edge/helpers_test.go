package edge_test

import (
	"net"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func unmarshal(text []byte, m proto.Message) error { return protojson.Unmarshal(text, m) }

// listenAgain at an address that was in use a moment ago.
func listenAgain(addr string) (l net.Listener, err error) {
	for range 100 {
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}
