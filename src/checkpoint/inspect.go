package checkpoint

import "sort"

// Summary is what a checkpoint holds of one kind.
type Summary struct {
	Kind             string
	Tensors, Entries int
	Elements         int64
	RawBytes, Stored int64
	Compressed       int // entries
	DTypes           []string
}

// Inspect sums up the tensors of a manifest by kind, in alphabetical order of the kinds.
func (m Manifest) Inspect() []Summary {
	kinds := map[string]*Summary{}
	tensors, dtypes := map[key]bool{}, map[key]bool{}
	for _, e := range m.Entries {
		s := kinds[e.Kind]
		if s == nil {
			s = &Summary{Kind: e.Kind}
			kinds[e.Kind] = s
		}
		if k := (key{e.Kind, e.Tensor}); !tensors[k] {
			tensors[k] = true
			s.Tensors++
		}
		if k := (key{e.Kind, e.DType}); !dtypes[k] {
			dtypes[k] = true
			s.DTypes = append(s.DTypes, e.DType)
		}
		s.Entries++
		s.Elements += int64(e.Box().Volume())
		s.RawBytes += e.Raw()
		s.Stored += e.Stored
		if e.Codec != CodecRaw {
			s.Compressed++
		}
	}
	out := make([]Summary, 0, len(kinds))
	for _, s := range kinds {
		out = append(out, *s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Kind < out[j].Kind })
	return out
}
