package cpu

import (
	"fmt"
	"os"
	"strings"
)

// LevelVariable is the environment variable that forces an instruction set: avx512, avx2 or portable.
const LevelVariable = "CAMBIUM_CPU_LEVEL"

// level is an instruction set that kernels are written for.
type level uint8

const (
	portable level = iota
	avx2           // AVX2 and FMA
	avx512         // AVX-512 F, BW, DQ and VL
)

var levelNames = [...]string{portable: "portable", avx2: "avx2", avx512: "avx512"}

func (l level) String() string { return levelNames[l] }

// Levels names the instruction sets that this processor can run, the fastest first.
func Levels() []string {
	var names []string
	for l := int(avx512); l >= 0; l-- {
		if hasLevel(level(l)) {
			names = append(names, level(l).String())
		}
	}
	return names
}

// chooseLevel is the level that is asked for by name, by the environment variable when name is empty, or the fastest.
func chooseLevel(name string) (level, error) {
	source := "level"
	if name == "" {
		source, name = LevelVariable, os.Getenv(LevelVariable)
	}
	have := Levels()
	if name == "" {
		name = have[0]
	}
	for l, n := range levelNames {
		if n != name {
			continue
		}
		if !hasLevel(level(l)) {
			return 0, fmt.Errorf("cpu: %s %q: this processor lacks it; it has %s", source, name, strings.Join(have, ", "))
		}
		return level(l), nil
	}
	return 0, fmt.Errorf("cpu: unknown %s %q: want avx512, avx2 or portable", source, name)
}
