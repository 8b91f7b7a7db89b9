// Copies between the host and the device of a context. On the CPU they are copies in memory, or nothing.
#pragma once

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

/// Returns when everything queued so far is done.
void synchronize(const Context& context);

}  // namespace tsugi
