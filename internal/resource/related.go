package resource

// said are the fields that there are problems with, so that one of thousands is found at once.
type said struct {
	fields map[string]bool
	// around are the fields and all that stands around them.
	around map[string]bool
}

// saidBefore are the fields of the problems from one on, and of those that are meant.
func (d *document) saidBefore(from int) *said {
	s := &said{map[string]bool{}, map[string]bool{}}
	for _, p := range d.problems[from:] {
		s.add(p.Field)
	}
	for _, m := range d.meant {
		for outer := range outers(m) {
			s.around[outer] = true
		}
	}
	return s
}

func (s *said) add(field string) {
	if field == "" {
		return
	}
	s.fields[field] = true
	for outer := range outers(field) {
		s.around[outer] = true
	}
}

// related says whether there is a problem with a field, something in it or something around it, or one that says that
// the field is meant: then a second one would only be its consequence. What Istio says of one specification are no consequences of each
// other.
func (s *said) related(field string) bool {
	if s.around[field] {
		return true
	}
	for outer := range outers(field) {
		if s.fields[outer] {
			return true
		}
	}
	return false
}

// outers are a field and those that it is in.
func outers(field string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range field {
			if (field[i] == '.' || field[i] == '[') && !yield(field[:i]) {
				return
			}
		}
		yield(field)
	}
}
