#include "ops/tensor/copy.h"

#include <cstring>

namespace tsugi {

void copy_from_host(const Context& context, const void* from, const Tensor& to) {
  if (context.meta() || to.bytes() == 0) return;
  if (DeviceOperators* device = context.operators()) {
    device->copy_to_device(to.raw(), from, to.bytes());
  } else {
    std::memcpy(to.raw(), from, to.bytes());
  }
}

void copy_to_host(const Context& context, const Tensor& from, void* to) {
  if (context.meta() || from.bytes() == 0) return;
  if (DeviceOperators* device = context.operators()) {
    device->copy_to_host(to, from.raw(), from.bytes());
  } else {
    std::memcpy(to, from.raw(), from.bytes());
  }
}

Tensor on_device(const Context& context, const Tensor& host) {
  if (context.operators() == nullptr || !host.defined()) return host;
  Tensor copy = context.empty(host.shape(), host.dtype());
  copy_from_host(context, host.raw(), copy);
  return copy;
}

Tensor on_host(const Context& context, const Tensor& tensor) {
  if (context.operators() == nullptr || context.meta() || !tensor.defined()) return tensor;
  Tensor copy = host_tensor(tensor.shape(), tensor.dtype());
  copy_to_host(context, tensor, copy.raw());
  return copy;
}

Tensor host_tensor(Shape shape, DType dtype) {
  return Tensor(HeapMemory().allocate(static_cast<size_t>(shape.elements()) * size_of(dtype)), shape, dtype);
}

void copy(const Context& context, const Tensor& from, const Tensor& to) {
  CHECK_EQ(from.bytes(), to.bytes());
  if (context.meta() || from.bytes() == 0) return;
  if (DeviceOperators* device = context.operators()) {
    device->copy(to.raw(), from.raw(), from.bytes());
  } else {
    std::memcpy(to.raw(), from.raw(), from.bytes());
  }
}

void synchronize(const Context& context) {
  if (!context.meta() && context.operators() != nullptr) context.operators()->synchronize();
}

}  // namespace tsugi
