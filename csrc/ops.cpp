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
}
