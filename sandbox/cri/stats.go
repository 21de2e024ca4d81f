package cri

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Without cgroups nobody adds up what a container uses: the figures are those
// of its first process.

// ContainerStats implements RuntimeService.
func (r *Runtime) ContainerStats(_ context.Context, id string) (*runtimeapi.ContainerStats, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	return c.stats(), nil
}

// ListContainerStats implements RuntimeService.
func (r *Runtime) ListContainerStats(_ context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	var out []*runtimeapi.ContainerStats
	for _, c := range r.allContainers() {
		if f.GetId() != "" && f.Id != c.id || f.GetPodSandboxId() != "" && f.PodSandboxId != c.pod.id || !matches(c.config.Labels, f.GetLabelSelector()) {
			continue
		}
		if _, err := c.running(); err == nil {
			out = append(out, c.stats())
		}
	}
	return out, nil
}

// PodSandboxStats implements RuntimeService.
func (r *Runtime) PodSandboxStats(_ context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	p, err := r.pod(id)
	if err != nil {
		return nil, err
	}
	return r.podStats(p), nil
}

// ListPodSandboxStats implements RuntimeService.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, f *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	pods, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{
		Id: f.GetId(), LabelSelector: f.GetLabelSelector(),
		State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	})
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.PodSandboxStats
	for _, item := range pods {
		if p, err := r.pod(item.Id); err == nil { // else it went away meanwhile
			out = append(out, r.podStats(p))
		}
	}
	return out, nil
}

// ListMetricDescriptors implements RuntimeService: no metrics.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements RuntimeService: no metrics.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}

func (r *Runtime) podStats(p *pod) *runtimeapi.PodSandboxStats {
	var cpu, memory uint64
	var containers []*runtimeapi.ContainerStats
	for _, c := range r.containersOf(p.id) {
		st := c.stats()
		cpu += st.Cpu.UsageCoreNanoSeconds.Value
		memory += st.Memory.RssBytes.Value
		containers = append(containers, st)
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: p.id, Metadata: p.config.Metadata, Labels: p.config.Labels, Annotations: p.config.Annotations},
		Linux:      &runtimeapi.LinuxPodSandboxStats{Cpu: cpuUsage(cpu), Memory: memoryUsage(memory), Containers: containers},
	}
}

func (c *container) stats() *runtimeapi.ContainerStats {
	var cpu, rss uint64
	if p, err := c.running(); err == nil {
		cpu, rss = usage(p.cmd.Process.Pid)
	}
	return &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.id, Metadata: c.config.Metadata, Labels: c.config.Labels, Annotations: c.config.Annotations},
		Cpu:        cpuUsage(cpu), Memory: memoryUsage(rss),
	}
}

func cpuUsage(ns uint64) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: now(), UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: ns}}
}

func memoryUsage(rss uint64) *runtimeapi.MemoryUsage {
	v := func() *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: rss} }
	return &runtimeapi.MemoryUsage{Timestamp: now(), WorkingSetBytes: v(), UsageBytes: v(), RssBytes: v()}
}

// usage reads the processor time in nanoseconds and the resident bytes of a
// process; one that is gone uses nothing.
func usage(pid int) (cpu, rss uint64) {
	const tick = 1e9 / 100 // USER_HZ is 100 wherever Go runs
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The second field is a name in parentheses that may hold anything.
	_, rest, _ := strings.Cut(string(data[max(strings.LastIndexByte(string(data), ')'), 0):]), " ")
	fields := strings.Fields(rest) // from field 3 on
	if len(fields) < 22 {
		return 0, 0
	}
	number := func(i int) uint64 { n, _ := strconv.ParseUint(fields[i-3], 10, 64); return n }
	return (number(14) + number(15)) * tick, number(24) * uint64(os.Getpagesize())
}
