#include "dist/shard_layout.h"

#include <glog/logging.h>

namespace tsugi {

ShardLayout::ShardLayout(std::vector<int64_t> bucket_ends, int ranks)
    : bucket_ends_(std::move(bucket_ends)), ranks_(ranks) {
  CHECK_GE(ranks, 1);
  CHECK(!bucket_ends_.empty());
  int64_t begin = 0;
  for (const int64_t end : bucket_ends_) {
    CHECK_LT(begin, end) << "bucket ends must ascend";
    begin = end;
  }
}

ChunkRange ShardLayout::bucket(int bucket) const {
  CHECK(bucket >= 0 && bucket < buckets()) << "bucket " << bucket << " of " << buckets();
  return {bucket == 0 ? 0 : bucket_ends_[bucket - 1], bucket_ends_[bucket]};
}

ChunkRange ShardLayout::shard(int bucket_index, int rank) const {
  CHECK(rank >= 0 && rank < ranks_) << "rank " << rank << " of " << ranks_;
  const ChunkRange range = bucket(bucket_index);
  return {range.begin + range.chunks() * rank / ranks_, range.begin + range.chunks() * (rank + 1) / ranks_};
}

ShardLayout ShardLayout::before(int64_t chunk) const {
  std::vector<int64_t> ends;
  for (const int64_t end : bucket_ends_) {
    if (end <= chunk) ends.push_back(end);
  }
  CHECK(!ends.empty() && ends.back() == chunk) << "no bucket ends at chunk " << chunk;
  return {std::move(ends), ranks_};
}

int64_t ShardLayout::local_offset(int bucket, int rank) const {
  int64_t offset = 0;
  for (int b = 0; b < bucket; ++b) offset += shard(b, rank).chunks();
  return offset;
}

std::vector<int64_t> make_buckets(const std::vector<int64_t>& unit_ends, int64_t minimum_chunks) {
  CHECK(!unit_ends.empty() && unit_ends.back() > 0);
  CHECK_GE(minimum_chunks, 1);
  std::vector<int64_t> ends;
  int64_t begin = 0;
  int64_t last = 0;
  for (const int64_t end : unit_ends) {
    CHECK_LE(last, end) << "unit ends must ascend";
    last = end;
    const int64_t parts = (end - begin) / minimum_chunks;
    if (parts == 0) continue;
    for (int64_t part = 1; part <= parts; ++part) ends.push_back(begin + (end - begin) * part / parts);
    begin = end;
  }
  if (begin < last) ends.push_back(last);
  return ends;
}

}  // namespace tsugi
