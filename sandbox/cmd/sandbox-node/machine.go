package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// machine tells the kubelet about the machine in place of cAdvisor, which
// would want to watch cgroups.
type machine struct {
	name string
	dir  string // any directory of the file system that counts
}

// Start implements cadvisor.Interface.
func (m *machine) Start() error { return nil }

// ContainerInfoV2 implements cadvisor.Interface: nothing is known.
func (m *machine) ContainerInfoV2(string, cadvisorapi.RequestOptions) (map[string]cadvisorapi.ContainerInfo, error) {
	return map[string]cadvisorapi.ContainerInfo{}, nil
}

// GetRequestedContainersInfo implements cadvisor.Interface: nothing is known.
func (m *machine) GetRequestedContainersInfo(string, cadvisorapi.RequestOptions) (map[string]*cadvisorapi.ContainerInfo, error) {
	return map[string]*cadvisorapi.ContainerInfo{}, nil
}

// MachineInfo implements cadvisor.Interface. Every node of a sandbox believes
// that it has the whole machine.
func (m *machine) MachineInfo(klog.Logger) (*cadvisorapi.MachineInfo, error) {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return nil, fmt.Errorf("size of the memory: %w", err)
	}
	// Requests of pods are promises that the sandbox does not keep, so they
	// should not keep a pod from being scheduled on a small machine either.
	return &cadvisorapi.MachineInfo{
		Timestamp: time.Now(), InstanceID: cadvisorapi.InstanceID(m.name), MachineID: m.name, SystemUUID: m.name,
		NumCores: max(runtime.NumCPU(), 8), NumPhysicalCores: runtime.NumCPU(), NumSockets: 1,
		MemoryCapacity: max(si.Totalram*uint64(si.Unit), 16<<30),
	}, nil
}

// VersionInfo implements cadvisor.Interface.
func (m *machine) VersionInfo() (*cadvisorapi.VersionInfo, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	return &cadvisorapi.VersionInfo{KernelVersion: unix.ByteSliceToString(u.Release[:]), ContainerOsVersion: system()}, nil
}

// system is the machine's name of its operating system.
func system() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return "Linux"
}

// ImagesFsInfo implements cadvisor.Interface.
func (m *machine) ImagesFsInfo(context.Context) (cadvisorapi.FsInfo, error) {
	return m.GetDirFsInfo(m.dir)
}

// RootFsInfo implements cadvisor.Interface.
func (m *machine) RootFsInfo() (cadvisorapi.FsInfo, error) { return m.GetDirFsInfo(m.dir) }

// ContainerFsInfo implements cadvisor.Interface.
func (m *machine) ContainerFsInfo(context.Context) (cadvisorapi.FsInfo, error) {
	return m.GetDirFsInfo(m.dir)
}

// GetDirFsInfo implements cadvisor.Interface.
func (m *machine) GetDirFsInfo(path string) (cadvisorapi.FsInfo, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return cadvisorapi.FsInfo{}, fmt.Errorf("size of %s: %w", path, err)
	}
	size := uint64(st.Bsize)
	return cadvisorapi.FsInfo{
		Timestamp: time.Now(), Device: "sandbox", Mountpoint: path,
		Capacity: st.Blocks * size, Available: st.Bavail * size, Usage: (st.Blocks - st.Bfree) * size,
		Inodes: new(st.Files), InodesFree: new(st.Ffree),
	}, nil
}
