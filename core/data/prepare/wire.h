// Values as bytes, on their way between ranks that run the same program.
#pragma once

#include <glog/logging.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tsugi {

class WireWriter {
 public:
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void put_text(std::string_view text) {
    put(static_cast<uint64_t>(text.size()));
    bytes_.append(text);
  }
  template <class T>
  void put_list(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_text({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads in the order of writing. What is not there is a broken invariant: the bytes are our own.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
    requires std::is_trivially_copyable_v<T>
  T get() {
    T value{};
    std::ranges::copy(next(sizeof(T)), reinterpret_cast<char*>(&value));
    return value;
  }
  /// Lies in the bytes that are read.
  std::string_view text() { return next(get<uint64_t>()); }
  template <class T>
  std::vector<T> list() {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::string_view bytes = text();
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view next(uint64_t size) {
    CHECK_LE(size, bytes_.size());
    const std::string_view result = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return result;
  }
  std::string_view bytes_;
};

}  // namespace tsugi
