// Shape and Tensor: a dense row-major array with shared ownership of its memory.
#pragma once

#include <glog/logging.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "ops/tensor/dtype.h"

namespace tsugi {

/// Up to four extents, outermost first.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i < 0 ? rank_ + i : i)]; }
  int64_t elements() const;
  /// Product of all extents but the last: the number of rows when seen as a matrix.
  int64_t rows() const { return rank_ == 0 ? 0 : elements() / (*this)[-1]; }
  bool operator==(const Shape&) const = default;
  std::string to_string() const;

 private:
  std::array<int64_t, 4> extents_{};
  int rank_ = 0;
};

/// Where memory lies, and who computes on it.
enum class DeviceKind : uint8_t { kCpu, kCuda };

/// A block of memory; its destructor gives it back to where it came from. `data` is null on a meta device.
struct Storage {
  std::byte* data = nullptr;
  size_t bytes = 0;
  DeviceKind device = DeviceKind::kCpu;
  virtual ~Storage() = default;
};

/// A contiguous array. Copying shares the memory; the last copy returns it to its Memory.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, Shape shape, DType dtype);

  /// A view of the host's memory that somebody else owns and keeps alive.
  static Tensor view(void* data, Shape shape, DType dtype);

  bool defined() const { return shape_.rank() > 0; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  DeviceKind device() const { return device_; }
  int64_t elements() const { return shape_.elements(); }
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype_); }
  /// True when nothing else shares the storage, so that it may be changed in place.
  bool unique() const { return storage_ != nullptr && storage_.use_count() == 1; }

  /// The address, on whatever device.
  void* raw() const { return data_; }
  /// The elements, for the host: the tensor must lie in its memory.
  template <class T>
  T* data() const {
    DCHECK(DTypeOf<T>::value == dtype_) << "tensor holds " << name_of(dtype_);
    DCHECK(device_ == DeviceKind::kCpu) << "the tensor lies on another device (ops/tensor/copy.h)";
    return static_cast<T*>(raw());
  }

  /// The same elements under another shape of equal size.
  Tensor reshape(Shape shape) const;
  /// Elements [offset, offset + shape.elements()), sharing the memory.
  Tensor slice(int64_t offset, Shape shape) const;

 private:
  std::shared_ptr<Storage> storage_;
  std::byte* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
  DeviceKind device_ = DeviceKind::kCpu;
};

}  // namespace tsugi
