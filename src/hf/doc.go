// Package hf writes and reads folders in the layout of Hugging Face's transformers library: config.json,
// model.safetensors and the tokenizer's files, for the GPT-2 (GPT2LMHeadModel) and Llama (LlamaForCausalLM) formats.
//
// The formats have no multipliers. An export folds them into weights, without changing the function:
//
//	x = i (E[token] + P[pos]), logits = s norm(x') E^T     is     E' = i E, P' = i P, gain' = s/i gain, shift' = s/i shift
//
// with tied embeddings; with an output layer of its own, gain' = s gain and shift' = s shift. What a format cannot
// express is refused by the name of the option.
package hf
