#include "ops/tensor/tensor.h"

namespace tsugi {

Shape::Shape(std::initializer_list<int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  CHECK_LE(extents.size(), extents_.size());
  size_t i = 0;
  for (const int64_t extent : extents) {
    CHECK_GE(extent, 0);
    extents_[i++] = extent;
  }
}

int64_t Shape::elements() const {
  int64_t product = rank_ == 0 ? 0 : 1;
  for (int i = 0; i < rank_; ++i) product *= extents_[static_cast<size_t>(i)];
  return product;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

Tensor::Tensor(std::shared_ptr<Storage> storage, Shape shape, DType dtype)
    : storage_(std::move(storage)), data_(storage_->data), shape_(shape), dtype_(dtype), device_(storage_->device) {
  CHECK_LE(bytes(), storage_->bytes);
}

Tensor Tensor::view(void* data, Shape shape, DType dtype) {
  Tensor tensor;
  tensor.data_ = static_cast<std::byte*>(data);
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::reshape(Shape shape) const {
  CHECK_EQ(shape.elements(), elements()) << shape_.to_string() << " as " << shape.to_string();
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::slice(int64_t offset, Shape shape) const {
  CHECK_GE(offset, 0);
  CHECK_LE(offset + shape.elements(), elements());
  Tensor result = *this;
  result.shape_ = shape;
  if (data_ != nullptr) result.data_ = data_ + static_cast<size_t>(offset) * size_of(dtype_);
  return result;
}

}  // namespace tsugi
