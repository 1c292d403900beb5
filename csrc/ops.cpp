// Every op schema of the `jenga` namespace, in one place. Implementations register from csrc/cpu and csrc/cuda.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(jenga, m) {
  // kinds: 0 cross-entropy, 1 binary cross-entropy, 2 squared error, 3 focal, 4 soft; sizes sum to the columns of
  // logits. label_weights: class weights or positive weights; parameters: label smoothing or gamma. rows: the task of
  // each row, by which a head with that task sees it. slope: d loss_sum / d logits; classes, items, values:
  // predictions.
  m.def(
      "multi_head_loss(Tensor logits, Tensor[] targets, int[] kinds, int[] sizes, Tensor[] label_weights, "
      "int[] weighted, float[] parameters, Tensor? rows, int[] tasks, bool with_slope) "
      "-> (Tensor loss_sum, Tensor count, Tensor slope, Tensor classes, Tensor items, Tensor values)");
  // The gradient of the logits, in the dtype of `like`.
  m.def("multi_head_loss_backward(Tensor grad_loss_sum, Tensor slope, int[] sizes, Tensor like) -> Tensor");

  // x @ weight.T + bias for few outputs, float32 on the CPU. Backward: gradients of x (where weight is given), weight
  // (where x is given) and bias; those that are not wanted have no dimension.
  m.def("skinny_linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def("skinny_linear_backward(Tensor grad, Tensor? x, Tensor? weight, bool wants_bias) -> (Tensor, Tensor, Tensor)");

  // Linear layers of one x (M, K) with low-rank updates. Part j is one adapter of one layer: scales[j] lora_bs[j]
  // lora_as[j] is added to layer projections[j]; with rows (the adapter of each row), only where adapters[j] is the
  // row's. Dropout before lora_as, from seed (kernels/lora_linear). projected: drop(x) lora_as^T, (M, all ranks).
  m.def(
      "lora_linear(Tensor x, Tensor[] weights, Tensor[] biases, int[] biased, Tensor[] lora_as, Tensor[] lora_bs, "
      "float[] scales, int[] projections, int[] adapters, Tensor? rows, float dropout, Tensor? seed) "
      "-> (Tensor[] outputs, Tensor projected)");
  // The gradients of x, of lora_as and of lora_bs; those that are not wanted have no elements.
  m.def(
      "lora_linear_backward(Tensor[] grads, Tensor x, Tensor projected, Tensor[] weights, Tensor[] lora_as, "
      "Tensor[] lora_bs, float[] scales, int[] projections, int[] adapters, Tensor? rows, float dropout, "
      "Tensor? seed, bool wants_x, bool wants_a, bool wants_b) -> (Tensor dx, Tensor[] das, Tensor[] dbs)");

  // Losses over a vocabulary without ever holding (M, V) logits; the chunk loops are in Python (kernels/linear_*).
  // wanted: which gradients to compute, in the order of the results; the others have no elements. chunk_rows 0: auto.
  m.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, int ignore_index, "
      "float label_smoothing, bool mean, int chunk_rows, bool[] wanted) "
      "-> (Tensor loss, Tensor dhidden, Tensor dweight, Tensor dbias)");
  // divergence: 0 forward KL, 1 reverse KL, 2 Jensen-Shannon. The teacher is a linear layer, or its top logits.
  m.def(
      "linear_distillation(Tensor student, Tensor student_weight, Tensor? teacher, Tensor? teacher_weight, "
      "Tensor? top_logits, Tensor? top_indices, Tensor targets, float alpha, float temperature, int divergence, "
      "int ignore_index, bool mean, int chunk_rows, bool[] wanted) "
      "-> (Tensor loss, Tensor dstudent, Tensor dstudent_weight)");
  // One chunk: losses (rows,); with_slope turns the logits into slope_scale * d loss / d logits, in place.
  m.def(
      "vocabulary_cross_entropy_(Tensor(a!) logits, Tensor targets, int ignore_index, float label_smoothing, "
      "float slope_scale, bool with_slope) -> Tensor");
  m.def(
      "vocabulary_distillation_(Tensor(a!) logits, Tensor teacher_logits, Tensor targets, float alpha, "
      "float temperature, int divergence, int ignore_index, float slope_scale, bool with_slope) -> Tensor");

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
