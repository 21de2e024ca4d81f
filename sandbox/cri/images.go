package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"isthmus.dev/sandbox/image"
)

// Images answers the kubelet's questions about images from a store.
type Images struct{ store *image.Store }

// NewImages returns the image service of a store.
func NewImages(store *image.Store) *Images { return &Images{store} }

// ListImages implements ImageManagerService.
func (s *Images) ListImages(ctx context.Context, f *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := f.GetImage().GetImage(); ref != "" {
		st, err := s.ImageStatus(ctx, f.Image, false)
		if err != nil || st.Image == nil {
			return nil, err
		}
		return []*runtimeapi.Image{st.Image}, nil
	}
	all, err := s.store.List()
	if err != nil {
		return nil, err
	}
	out := make([]*runtimeapi.Image, 0, len(all))
	for _, img := range all {
		out = append(out, describe(img))
	}
	return out, nil
}

// ImageStatus implements ImageManagerService; an unknown image is a nil one.
func (s *Images) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	img, err := s.store.Get(spec.GetImage())
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ImageStatusResponse{Image: describe(img)}, nil
}

// PullImage implements ImageManagerService. There is nowhere to pull from: an
// image is in the store or the error says how to put it there.
func (s *Images) PullImage(_ context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	img, err := s.store.Get(spec.GetImage())
	if errors.Is(err, image.ErrNotFound) {
		return "", fmt.Errorf("%w in the sandbox; add it with: sandbox image add %s DIRECTORY", err, spec.GetImage())
	}
	return img.ID, err
}

// RemoveImage implements ImageManagerService.
func (s *Images) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	return s.store.Remove(spec.GetImage())
}

// ImageFsInfo implements ImageManagerService.
func (s *Images) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.store.Dir(), &st); err != nil {
		return nil, fmt.Errorf("image store %s: %w", s.store.Dir(), err)
	}
	usage := []*runtimeapi.FilesystemUsage{{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: s.store.Dir()},
		UsedBytes:  &runtimeapi.UInt64Value{Value: (st.Blocks - st.Bfree) * uint64(st.Bsize)},
		InodesUsed: &runtimeapi.UInt64Value{Value: st.Files - st.Ffree},
	}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// Close implements ImageManagerService.
func (s *Images) Close(context.Context) error { return nil }

func describe(img image.Image) *runtimeapi.Image {
	repo := img.Ref
	if i := strings.LastIndex(repo, ":"); i > strings.LastIndex(repo, "/") {
		repo = repo[:i]
	}
	out := &runtimeapi.Image{
		Id: img.ID, RepoTags: []string{img.Ref}, RepoDigests: []string{repo + "@" + img.ID},
		Size: uint64(max(img.Size, 1)), // zero would mean "unknown" to the kubelet
		Spec: &runtimeapi.ImageSpec{Image: img.Ref},
		// The store belongs to whoever made the sandbox; the kubelet's garbage
		// collection has no say.
		Pinned: true,
	}
	if uid, ok := img.UID(); ok {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username, _, _ = strings.Cut(img.User, ":")
	}
	return out
}
