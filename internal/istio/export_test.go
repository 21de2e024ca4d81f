package istio

import "isthmus.dev/isthmus/internal/intent"

// CountTyped makes the typed objects of a delta and counts them.
func CountTyped(d intent.Delta) int {
	n := 0
	for _, g := range d.Gateways {
		n += len(renderGateway(g))
	}
	for _, h := range d.Hosts {
		dress := dressOf(h)
		for key, f := range h.Forms {
			if key == intent.ClassForm("") {
				n += len(renderForm(h, f, dress))
			}
		}
	}
	return n
}
