package telemetry

import "testing"

func TestTheMemoryTableTellsWhereADevicesMemoryWent(t *testing.T) {
	const mib = 1 << 20
	s := &Stage{DType: "bf16", MemoryRank: 3, DeviceBytes: 1000 * mib, DeviceFree: 700 * mib, Memory: []Memory{
		{Label: "activations", Bytes: 50 * mib}, {Label: "batch", Bytes: mib / 2}, {Label: "gradients", Bytes: 40 * mib}, {Label: "optimizer", Bytes: 120 * mib},
		{Label: "weights", Bytes: 20 * mib}, {Label: "workspace", Bytes: 16 * mib},
	}}
	const want = `
memory of rank 3's device, 1000 MiB:
  weights              20.0
  gradients            40.0
  master weights       40.0
  moments              80.0
  activations          50.0
  workspace            16.0
  batch                 0.5
  others               53.5
  free                700.0`
	if got := memoryTable(s); got != want {
		t.Errorf("%s\nwant%s", got, want)
	}
	if s.DType = "fp32"; memoryTable(s) == want {
		t.Error("fp32 weights have no masters")
	}
	if s.DeviceBytes = 0; memoryTable(s) != "" {
		t.Error("a table of a device that does not tell")
	}
}
