// Package parity compares Cambium with PyTorch, on cases that record.py wrote into testdata: a GPT-2, a Llama and an FLM,
// and growing models half-way up their ramps. The tests need no Python.
package parity
