#include "core/autograd/tape.h"

#include "ops/reduce/reduce.h"

namespace tsugi {

Tensor make_unique_tensor(const Context& context, Tensor tensor) {
  if (tensor.unique()) return tensor;
  const Tensor copy = context.empty(tensor.shape(), tensor.dtype());
  convert(context, tensor, copy);
  return copy;
}

void Gradient::add(const Context& context, Tensor tensor) {
  if (!tensor_.defined()) {
    tensor_ = std::move(tensor);
    return;
  }
  tensor_ = make_unique_tensor(context, std::move(tensor_));
  add_in_place(context, tensor_, tensor);
}

void Tape::backward() {
  while (!entries_.empty()) {
    RecycledCall entry = std::move(entries_.back());
    entries_.pop_back();
    entry();
  }
}

}  // namespace tsugi
