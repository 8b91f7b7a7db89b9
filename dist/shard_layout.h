// How flat buffers are cut: chunks → buckets (communicated together) → one shard per rank.
#pragma once

#include <cstdint>
#include <vector>

namespace tsugi {

/// Chunks [begin, end).
struct ChunkRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t chunks() const { return end - begin; }
};

/// A flat buffer of `chunks` chunks is cut into consecutive buckets, every bucket into `ranks` consecutive shards of
/// chunks, as even as possible. A rank's shard is the concatenation of its shards of all buckets, in order.
class ShardLayout {
 public:
  /// `bucket_ends`: ascending chunk indices, the last being the number of chunks.
  ShardLayout(std::vector<int64_t> bucket_ends, int ranks);

  int ranks() const { return ranks_; }
  int buckets() const { return static_cast<int>(bucket_ends_.size()); }
  int64_t chunks() const { return bucket_ends_.back(); }
  ChunkRange bucket(int bucket) const;
  ChunkRange shard(int bucket, int rank) const;
  /// Where bucket's shard begins inside the rank's concatenated shard, in chunks.
  int64_t local_offset(int bucket, int rank) const;
  /// Total chunks of a rank.
  int64_t local_chunks(int rank) const { return local_offset(buckets(), rank); }
  /// The buckets before `chunk`, at which one must end: their shards are where they are in the whole.
  ShardLayout before(int64_t chunk) const;

 private:
  std::vector<int64_t> bucket_ends_;
  int ranks_;
};

/// Bucket ends at unit ends such that each bucket but the last has at least `minimum_chunks`, and units larger than
/// that are split. `unit_ends`: ascending chunk indices at which parameters of a unit end, in the order of completion.
std::vector<int64_t> make_buckets(const std::vector<int64_t>& unit_ends, int64_t minimum_chunks);

}  // namespace tsugi
