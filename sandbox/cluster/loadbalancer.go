package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"isthmus.dev/sandbox/plan"
)

// AddressAnnotation on a Service of type LoadBalancer chooses its address.
// Changing it moves the Service; the old address answers no more.
const AddressAnnotation = "sandbox.isthmus.dev/address"

// balance gives every Service of type LoadBalancer an address of the
// cluster's range, and takes it back, until ctx ends.
func (c *Cluster) balance(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	factory := informers.NewSharedInformerFactory(c.kube, 0)
	services := factory.Core().V1().Services()
	poke := func(any) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, DeleteFunc: poke, UpdateFunc: func(_, o any) { poke(o) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), services.Informer().HasSynced) {
		return context.Cause(ctx)
	}
	b := &balancer{cluster: c, owned: map[string]bool{}, used: map[string]bool{}}
	for {
		all, err := services.Lister().List(labels.Everything())
		if err == nil {
			err = b.converge(ctx, all)
		}
		retry := time.Minute
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "load balancer", "cluster", c.cfg.Plan.Name, "error", err)
			retry = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
		case <-time.After(retry):
		}
	}
}

// balancer remembers what it gave away. One goroutine uses it.
type balancer struct {
	cluster *Cluster
	owned   map[string]bool // addresses that the WAN routes
	used    map[string]bool // addresses ever given: a new Service gets a fresh one while there is one
}

// converge makes statuses and routed addresses what services ask for.
func (b *balancer) converge(ctx context.Context, services []*corev1.Service) error {
	want := assign(b.cluster.cfg.Plan, services, b.used)
	owned := map[string]bool{}
	for _, addr := range want {
		owned[addr] = true
		b.used[addr] = true
	}
	for addr := range b.owned {
		if !owned[addr] {
			if err := b.cluster.cfg.SetLB(addr, false); err != nil {
				return err
			}
			delete(b.owned, addr)
		}
	}
	for addr := range owned {
		if !b.owned[addr] {
			if err := b.cluster.cfg.SetLB(addr, true); err != nil {
				return err
			}
			b.owned[addr] = true
		}
	}
	var last error
	for _, s := range services {
		if err := b.status(ctx, s, want[key(s)]); err != nil {
			last = err // the others do not wait for this one
		}
	}
	return last
}

// status writes addr into the Service, or clears it, if that changes anything.
func (b *balancer) status(ctx context.Context, s *corev1.Service, addr string) error {
	if current(s) == addr && len(s.Status.LoadBalancer.Ingress) <= 1 {
		return nil
	}
	s = s.DeepCopy() // the informer's object is shared
	s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	if addr != "" {
		mode := corev1.LoadBalancerIPModeVIP
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr, IPMode: &mode}}
	}
	_, err := b.cluster.kube.CoreV1().Services(s.Namespace).UpdateStatus(ctx, s, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("address of service %s: %w", key(s), err)
	}
	return nil
}

// assign decides which Service has which address. A Service keeps what it
// has, unless it chooses; a choice outside the range or of somebody else's
// address is left without one until it is free. Older Services choose first.
func assign(p plan.Cluster, services []*corev1.Service, used map[string]bool) map[string]string {
	services = slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool {
		return s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil || s.Spec.LoadBalancerClass != nil
	})
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(key(a), key(b)))
	})
	out, taken := map[string]string{}, map[string]bool{}
	give := func(s *corev1.Service, addr string) {
		if p.HasLB(addr) && !taken[addr] {
			out[key(s)], taken[addr] = addr, true
		}
	}
	for _, s := range services {
		if w := wish(s); w != "" {
			give(s, w)
		}
	}
	for _, s := range services {
		if wish(s) == "" {
			give(s, current(s))
		}
	}
	for _, s := range services {
		if wish(s) == "" && out[key(s)] == "" {
			give(s, fresh(p, taken, used))
		}
	}
	return out
}

// fresh finds an address that nobody had, or else one that nobody has.
func fresh(p plan.Cluster, taken, used map[string]bool) string {
	second := ""
	for a := netip.MustParsePrefix(p.LBNet).Addr().Next(); p.HasLB(a.String()); a = a.Next() {
		switch s := a.String(); {
		case taken[s]:
		case !used[s]:
			return s
		case second == "":
			second = s
		}
	}
	return second
}

func wish(s *corev1.Service) string {
	return cmp.Or(s.Annotations[AddressAnnotation], s.Spec.LoadBalancerIP)
}

func current(s *corev1.Service) string {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return ""
	}
	return s.Status.LoadBalancer.Ingress[0].IP
}

func key(s *corev1.Service) string { return s.Namespace + "/" + s.Name }
