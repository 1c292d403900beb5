// Every op schema of the `jenga` namespace, in one place. Implementations register from csrc/cpu and csrc/cuda.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(jenga, m) {
  // kinds: 0 cross-entropy, 1 binary cross-entropy, 2 squared error; sizes sum to the columns of logits.
  // label_weights: per head, class weights (cross-entropy) or positive weights (binary cross-entropy), or None.
  m.def(
      "multi_head_loss(Tensor logits, Tensor[] targets, int[] kinds, int[] sizes, Tensor?[] label_weights, "
      "float[] label_smoothing) -> (Tensor loss_sum, Tensor count, Tensor[] predictions)");
  m.def(
      "multi_head_loss_backward(Tensor grad_loss_sum, Tensor logits, Tensor[] targets, int[] kinds, int[] sizes, "
      "Tensor?[] label_weights, float[] label_smoothing) -> Tensor");

  // data: uint8 bytes; row_offsets (M, 2): [begin, end) of each row; plan: uint8 JSON; previous: float64, the time
  // before the first row by inter-arrival field (NaN, or an empty tensor: none). Results hold good rows only, in order,
  // and quarantine (Q, 3) the others: row, error code, position.
  m.def(
      "refine(Tensor data, Tensor row_offsets, Tensor plan, Tensor previous, int n_threads) "
      "-> (Tensor features, Tensor states, Tensor counters, Tensor quarantine, Tensor last)");
  m.def(
      "refine_out(Tensor data, Tensor row_offsets, Tensor plan, Tensor previous, int n_threads, Tensor(a!) features) "
      "-> (Tensor states, Tensor counters, Tensor quarantine, Tensor last)");
  // The raw columns in between: numbers (M, N) with NaN for missing, texts end to end.
  m.def(
      "refine_extract(Tensor data, Tensor row_offsets, Tensor plan, int n_threads) "
      "-> (Tensor numbers, Tensor text, Tensor text_offsets, Tensor states, Tensor counters, Tensor quarantine)");
  m.def(
      "refine_encode(Tensor numbers, Tensor text, Tensor text_offsets, Tensor states, Tensor plan, Tensor previous, "
      "int n_threads) -> (Tensor features, Tensor states, Tensor counters, Tensor last)");
}
