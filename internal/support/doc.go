// Package support holds every field of every kind against what shows that it works, or who refuses it, and makes
// docs/reference/support.md of that. There are only tests in it: go test ./internal/support -update writes the page.
package support
