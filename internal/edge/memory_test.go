package edge

import "testing"

func TestMemoryLimit(t *testing.T) {
	for name, tc := range map[string]struct{ live, least, most uint64 }{
		"Small":      {8 << 20, memoryLimit, memoryLimit},
		"Medium":     {20 << 20, 40 << 20, 60 << 20},
		"Large":      {200 << 20, 400 << 20, 500 << 20},
		"NothingYet": {0, memoryLimit, memoryLimit},
	} {
		t.Run(name, func(t *testing.T) {
			if got := uint64(limitFor(tc.live)); got < tc.least || got > tc.most {
				t.Errorf("limitFor(%d) = %d, want %d to %d", tc.live, got, tc.least, tc.most)
			}
		})
	}
}
