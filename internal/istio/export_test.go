package istio

import "isthmus.dev/isthmus/internal/intent"

// CountTyped makes the typed objects of a delta and counts them.
func CountTyped(d intent.Delta) int {
	n := 0
	for _, m := range renderAll(d.Gateways, func(_ *encoder, _ intent.GatewayKey, g *intent.Gateway) int { return len(renderGateway(g)) }) {
		n += m.out
	}
	for _, m := range renderAll(d.Hosts, func(_ *encoder, _ string, h *intent.Host) int {
		return len(renderForm(h, h.Forms[intent.FormKey{}], dressOf(h)))
	}) {
		n += m.out
	}
	return n
}
