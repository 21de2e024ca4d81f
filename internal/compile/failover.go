package compile

import (
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// ownFailover is what the workspace's settings say, or else those of the organization: of several, the first one in name
// order that says anything.
func ownFailover(r *Reads, workspace resource.FQN) intent.Failover {
	for _, level := range []resource.FQN{workspace, workspace.Ancestor("organizations")} {
		if f := settingAt(r, level, failoverOf); f != nil {
			return *f
		}
	}
	return intent.Failover{}
}

// failoverOf is what a setting says, nil when that is nothing.
func failoverOf(res *resource.Resource) *intent.Failover {
	s, _ := res.Spec.(failoverSetting)
	if s == nil {
		return nil
	}
	f := s.GetFailoverSettings()
	regions := f.GetRegionalFailover()
	if len(regions) == 0 {
		regions = s.GetRegionalFailover()
	}
	if f == nil && len(regions) == 0 {
		return nil
	}
	return new(failover(f, regions))
}

// failoverSetting is a setting of a workspace or an organization.
type failoverSetting interface {
	GetFailoverSettings() *typesv2.FailoverSettings
	GetRegionalFailover() []*typesv2.RegionalFailover
}

// serverFailover is what a server says about its host, nil when that is nothing.
func serverFailover(f *typesv2.FailoverSettings) *intent.Failover {
	if f == nil {
		return nil
	}
	return new(failover(f, f.GetRegionalFailover()))
}

// byLocality is the order that Istio also has of its own.
var byLocality = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"} //nolint:gochecknoglobals // nobody writes to it

func failover(f *typesv2.FailoverSettings, regions []*typesv2.RegionalFailover) intent.Failover {
	out := intent.Failover{Priority: f.GetFailoverPriority()}
	for _, x := range regions {
		out.Regions = append(out.Regions, intent.Region{From: x.GetFrom(), To: x.GetTo()})
	}
	if len(out.Priority) > 0 || f == nil {
		return out
	}
	switch f.GetTopologyChoice() {
	case typesv2.FailoverSettings_NONE:
		// The choice is NONE also when nobody chose; regions say that somebody wants an order.
		out.Off = len(out.Regions) == 0 && f.GetAutomaticLoadBalancing() == nil
	case typesv2.FailoverSettings_LOCALITY:
		out.Priority = byLocality
	}
	return out
}
