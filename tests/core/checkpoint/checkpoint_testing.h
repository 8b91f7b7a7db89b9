// Helpers of the checkpoint tests: a folder that goes away, a model with awkward shapes, and ranks that share it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.h"
#include "ops/base/error.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi::testing {

using namespace ::testing;  // inside of tsugi `testing` names both

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(::testing::TempDir() + "tsugi-checkpoint-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "cannot create " << path_;
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  EXPECT_TRUE(file.flush()) << path;
}

/// The message of the Error that `body` throws; its code is compared.
template <class F>
std::string error_of(F&& body, ExitCode code = ExitCode::kData) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

/// The whole state of a model, as one process sees it.
struct WholeState {
  std::vector<SavedTensor> tensors;
  std::vector<std::vector<float>> master, exp_avg, exp_avg_sq;

  static int64_t elements(const SavedTensor& tensor) {
    int64_t count = 1;
    for (const int64_t dimension : tensor.shape) count *= dimension;
    return count;
  }

  explicit WholeState(std::vector<SavedTensor> list) : tensors(std::move(list)) {
    for (const SavedTensor& tensor : tensors) {
      for (auto* part : {&master, &exp_avg, &exp_avg_sq}) part->emplace_back(elements(tensor), -77.0f);
    }
  }

  /// Random bit patterns: NaNs with payloads, infinities, negative zeros and subnormals included.
  void fill(uint32_t seed) {
    std::mt19937 random(seed);
    for (auto* part : {&master, &exp_avg, &exp_avg_sq}) {
      for (std::vector<float>& values : *part) {
        for (float& value : values) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
      }
    }
  }

  bool operator==(const WholeState& other) const {
    // Bits, since NaN is not equal to itself.
    const auto same = [](const auto& a, const auto& b) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                          [](float p, float q) { return std::bit_cast<uint32_t>(p) == std::bit_cast<uint32_t>(q); });
      });
    };
    return same(master, other.master) && same(exp_avg, other.exp_avg) && same(exp_avg_sq, other.exp_avg_sq);
  }

  StateRange range(int tensor, int64_t offset, int64_t length) {
    const auto t = static_cast<size_t>(tensor);
    return {
        tensor, offset, length, master[t].data() + offset, exp_avg[t].data() + offset, exp_avg_sq[t].data() + offset};
  }

  /// Cuts every tensor at random places and deals the pieces out to `ranks` ranks.
  std::vector<std::vector<StateRange>> deal(int ranks, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<std::vector<StateRange>> result(static_cast<size_t>(ranks));
    for (int t = 0; t < static_cast<int>(tensors.size()); ++t) {
      const int64_t all = elements(tensors[static_cast<size_t>(t)]);
      int64_t offset = 0;
      do {
        const int64_t length = std::min<int64_t>(all - offset, 1 + static_cast<int64_t>(random() % 11));
        result[random() % static_cast<size_t>(ranks)].push_back(range(t, offset, length));
        offset += length;
      } while (offset < all);
    }
    return result;
  }
};

inline std::vector<SavedTensor> awkward_tensors() {
  return {{"transformer.wte.weight", {7, 5}},
          {"transformer.h.0.ln_1.bias", {13}},
          {"scale", {}},
          {"empty", {0, 3}},
          {"transformer.h.0.attn.c_attn.weight", {3, 1, 9}},
          {"a@b/\"é", {2}}};
}

inline RunState state_of_step(int64_t step) {
  RunState state;
  state.step = step;
  state.next_sample = static_cast<uint64_t>(step) * 32;
  state.config_text = "model { layers: 2 }\n# \"quoted\" é\n";
  state.facts = {{"device", "cpu"}, {"onednn", "2.6.3"}};
  return state;
}

inline std::map<std::string, std::string> texts() {
  return {{"config.json", "{\"model_type\": \"gpt2\"}"}, {"tokenizer.json", ""}};
}

/// A run directory with an attempt in it, for one rank.
class RunFolder {
 public:
  explicit RunFolder(std::string directory)
      : directory_(std::move(directory)), communicator_(make_local_communicator()) {}

  /// A new attempt that goes on from `start`.
  void attempt(int64_t start) {
    lease = take_lease(*communicator_, directory_);
    record_start(*communicator_, lease, start);
  }
  std::string save(int64_t step) {
    WholeState whole(awkward_tensors());
    whole.fill(static_cast<uint32_t>(step));
    return save_checkpoint(*communicator_, lease, state_of_step(step), whole.tensors, whole.deal(1, 5)[0], texts());
  }
  /// The step that find_checkpoint() chooses, after its content proved right; 0 when there is none.
  int64_t find() {
    damaged.clear();
    const std::string path = find_checkpoint(*communicator_, directory_, damaged);
    if (path.empty()) return 0;
    WholeState loaded(awkward_tensors());
    const RunState state = load_checkpoint(path, loaded.tensors, loaded.deal(1, 6)[0]);
    WholeState expected(awkward_tensors());
    expected.fill(static_cast<uint32_t>(state.step));
    EXPECT_TRUE(loaded == expected) << path;
    return state.step;
  }
  void retain(int keep) { retain_checkpoints(*communicator_, lease, keep); }

  std::string folder() const { return directory_ + "/checkpoints"; }
  std::string path(int64_t step) const {
    char name[32];
    std::snprintf(name, sizeof(name), "/step-%08d", static_cast<int>(step));
    return folder() + name;
  }
  Communicator& communicator() { return *communicator_; }

  RunLease lease;
  std::vector<std::string> damaged;

 private:
  std::string directory_;
  std::unique_ptr<Communicator> communicator_;
};

}  // namespace tsugi::testing
