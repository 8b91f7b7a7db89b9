#include "core/data/hash.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tsugi {
namespace {

static_assert(std::endian::native == std::endian::little, "lanes are read as they lie in memory");

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5u;

template <class T>
uint64_t take(std::span<const std::byte>& bytes) {
  T lane;
  std::memcpy(&lane, bytes.data(), sizeof(lane));
  bytes = bytes.subspan(sizeof(lane));
  return lane;
}

uint64_t round(uint64_t accumulator, uint64_t lane) { return std::rotl(accumulator + lane * kPrime2, 31) * kPrime1; }

uint64_t merge(uint64_t hash, uint64_t accumulator) { return (hash ^ round(0, accumulator)) * kPrime1 + kPrime4; }

void mix(std::array<uint64_t, 4>& lanes, std::span<const std::byte>& bytes) {
  auto [a, b, c, d] = lanes;
  while (bytes.size() >= 32) {
    a = round(a, take<uint64_t>(bytes));
    b = round(b, take<uint64_t>(bytes));
    c = round(c, take<uint64_t>(bytes));
    d = round(d, take<uint64_t>(bytes));
  }
  lanes = {a, b, c, d};
}

}  // namespace

Hash64::Hash64(uint64_t seed) : seed_(seed), lanes_{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1} {}

void Hash64::update(std::span<const std::byte> bytes) {
  const size_t held = length_ % rest_.size();
  length_ += bytes.size();
  if (held > 0) {
    const size_t more = std::min(bytes.size(), rest_.size() - held);
    std::copy_n(bytes.begin(), more, rest_.begin() + static_cast<std::ptrdiff_t>(held));
    bytes = bytes.subspan(more);
    if (held + more < rest_.size()) return;
    std::span<const std::byte> full(rest_);
    mix(lanes_, full);
  }
  mix(lanes_, bytes);
  std::ranges::copy(bytes, rest_.begin());
}

uint64_t Hash64::value() const {
  uint64_t hash = seed_ + kPrime5;
  if (length_ >= 32) {
    const auto [a, b, c, d] = lanes_;
    hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    hash = merge(merge(merge(merge(hash, a), b), c), d);
  }
  hash += length_;
  std::span<const std::byte> bytes = std::span(rest_).first(length_ % rest_.size());
  while (bytes.size() >= 8) hash = std::rotl(hash ^ round(0, take<uint64_t>(bytes)), 27) * kPrime1 + kPrime4;
  if (bytes.size() >= 4) hash = std::rotl(hash ^ (take<uint32_t>(bytes) * kPrime1), 23) * kPrime2 + kPrime3;
  while (!bytes.empty()) hash = std::rotl(hash ^ (take<uint8_t>(bytes) * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) {
  Hash64 hash(seed);
  hash.update(bytes);
  return hash.value();
}

}  // namespace tsugi
