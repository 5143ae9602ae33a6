package train

import (
	"fmt"
	"os"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/comm/nccl"
	"cambium/src/comm/staged"
	"cambium/src/config"
)

// openDevice makes what a rank computes with, and the communicator that reaches its memory. On GPUs the ranks of a host take its
// devices in turn.
func (j *job) openDevice(world comm.Communicator) (backend.Backend, comm.Communicator, error) {
	if j.cfg.Backend != config.BackendCUDA {
		return cpu.New(j.backendOptions()), world, nil
	}
	index, err := indexOnHost(world)
	if err != nil {
		return nil, nil, err
	}
	devices, err := cuda.Devices()
	if err != nil {
		return nil, nil, err
	}
	b, err := cuda.Open(index % devices)
	if err != nil {
		return nil, nil, err
	}
	if g, ok := b.(backend.GemmChooser); ok && j.cfg.Gemm != config.GemmAuto {
		if err := g.SetGemmMode(j.cfg.Gemm); err != nil {
			return nil, nil, err
		}
	}
	direct, err := j.direct(world, index < devices)
	if err != nil || !direct {
		return b, staged.New(world), err
	}
	c, err := nccl.New(world, b)
	return b, c, err
}

// described is what computes, for the log.
func described(b backend.Backend) string {
	if g, ok := b.(backend.GemmChooser); ok {
		return b.Name() + "; " + g.Gemms()
	}
	return b.Name()
}

// direct tells whether messages go by NCCL: as the configuration says, else where every rank has NCCL and a GPU of its own.
func (j *job) direct(world comm.Communicator, alone bool) (bool, error) {
	if j.cfg.Comm != config.CommAuto {
		return j.cfg.Comm == config.CommNCCL, nil
	}
	without := []float64{0}
	if !alone || nccl.Find() != nil {
		without[0] = 1
	}
	err := world.Reduce("ranks without NCCL or a GPU of their own", comm.Sum, without)
	return without[0] == 0, err
}

// indexOnHost is the number of a rank among those on its host.
func indexOnHost(world comm.Communicator) (int, error) {
	host, err := os.Hostname()
	if err != nil {
		return 0, fmt.Errorf("name of this host, to share its devices: %w", err)
	}
	all, err := world.Gather("hosts", []byte(host))
	if err != nil {
		return 0, err
	}
	index := 0
	for _, other := range all[:world.Rank()] {
		if string(other) == host {
			index++
		}
	}
	return index, nil
}
