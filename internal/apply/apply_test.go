package apply_test

import (
	"testing"

	"isthmus.dev/isthmus/internal/apply/applytest"
)

func TestFake(t *testing.T) {
	applytest.Run(t, func(t *testing.T) *applytest.Cluster { return applytest.NewFake(t, "work") })
}
