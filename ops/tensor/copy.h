// Copies between the host and the device of a context. On the CPU they are copies in memory, or nothing.
#pragma once

#include <vector>

#include "ops/tensor/context.h"

namespace tsugi {

/// to.bytes() bytes into a tensor of the context's device; `from` may change as soon as the call returns.
void copy_from_host(const Context& context, const void* from, const Tensor& to);

/// from.bytes() bytes of a tensor of the context's device into host memory, after all work queued so far.
void copy_to_host(const Context& context, const Tensor& from, void* to);

/// The tensor on the context's device: itself on the CPU, else a copy in context.memory() (uninitialised on a meta
/// device). `host` lies in host memory; undefined stays undefined.
Tensor on_device(const Context& context, const Tensor& host);

/// The tensor in host memory: itself on the CPU, else a copy.
Tensor on_host(const Context& context, const Tensor& tensor);

/// Host memory for a tensor that is to be filled there; uninitialised.
Tensor host_tensor(Shape shape, DType dtype);

/// from.bytes() bytes between tensors of the context's device, of equal size, that do not overlap.
void copy(const Context& context, const Tensor& from, const Tensor& to);

/// i32 of `shape` on the context's device. `fill` writes the elements, in host memory; it is not called on a meta
/// device.
template <class F>
Tensor integers_of(const Context& context, Shape shape, F&& fill) {
  const Tensor tensor = context.empty(shape, DType::kI32);
  if (context.meta()) return tensor;
  if (context.operators() == nullptr) {
    fill(tensor.data<int32_t>());
    return tensor;
  }
  std::vector<int32_t> values(static_cast<size_t>(shape.elements()));
  fill(values.data());
  copy_from_host(context, values.data(), tensor);
  return tensor;
}

/// Returns when everything queued so far is done.
void synchronize(const Context& context);

}  // namespace tsugi
