package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	r, err := Load("../../configs/quickstart.yaml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(string(r.Resolved()), r.Hash())
	r2, err := Parse("x", r.Resolved(), nil, nil)
	if err != nil || !reflect.DeepEqual(r, r2) {
		t.Fatal(err)
	}
	_ = os.Args
	_ = filepath.Join
	_ = strings.Cut
}
