// Package istio renders an intent as Istio objects. It is pure, and cannot fail for a user's reason.
package istio
