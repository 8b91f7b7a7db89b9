#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <span>
#include <tuple>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxRunBytes = int64_t{1} << 26;

RunState read_run_state(const Folder& folder) {
  const std::string path = folder.path() + "/" + kRunFile;
  const JsonValue root = parse_json(folder.read_text(kRunFile, kMaxRunBytes), path);
  const int64_t version = root.require_int("version", 1);
  if (version != 1) throw root.error("version " + std::to_string(version) + " is newer than this program");
  RunState state;
  state.step = root.require_int("step", 0);
  state.next_sample = static_cast<uint64_t>(root.require_int("next_sample", 0));
  state.evaluation_due = root.bool_or("evaluation_due", false);
  state.config_text = root.require_string("config");
  for (const auto& [key, value] : root.require_object("facts").members()) state.facts[key] = value.as_string();
  return state;
}

void read_masters(const SafetensorsFile& file, const std::vector<SavedTensor>& tensors,
                  const std::vector<StateRange>& ranges) {
  for (const SavedTensor& tensor : tensors) {
    const SafetensorsTensor* found = file.find(tensor.name);
    const std::string what = file.path() + ": tensor \"" + tensor.name + "\"";
    if (found == nullptr) throw Error(ExitCode::kData, what + " is missing");
    if (found->shape != tensor.shape) {
      throw Error(ExitCode::kData,
                  what + " has shape " + shape_text(found->shape) + ", the model needs " + shape_text(tensor.shape));
    }
    if (found->dtype != "F32") throw Error(ExitCode::kData, what + " is " + found->dtype + ", master weights are F32");
  }
  if (file.header().tensors.size() != tensors.size()) {
    for (const auto& [name, tensor] : file.header().tensors) {
      const bool known =
          std::any_of(tensors.begin(), tensors.end(), [&](const SavedTensor& t) { return t.name == name; });
      if (!known) throw Error(ExitCode::kData, file.path() + ": tensor \"" + name + "\" is not part of the model");
    }
  }
  for (const StateRange& range : ranges) {
    file.read_floats(tensors[static_cast<size_t>(range.tensor)].name, range.offset,
                     std::span(range.master, static_cast<size_t>(range.length)));
  }
}

/// The moments, put together from whatever pieces the shards hold.
class MomentReader {
 public:
  MomentReader(const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges) : tensors_(tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) index_[tensors[i].name] = static_cast<int>(i);
    for (const StateRange& range : ranges) {
      for (const auto& [kind, values] : {std::pair(kFirst, range.exp_avg), {kSecond, range.exp_avg_sq}}) {
        if (values != nullptr && range.length > 0) {
          wanted_[{range.tensor, kind}].push_back({range.offset, range.offset + range.length, values});
        }
      }
    }
  }

  /// Reads what this rank wants of one shard.
  void read(const SafetensorsFile& shard) {
    for (const auto& [name, tensor] : shard.header().tensors) {
      const auto [key, offset] = parse_name(name, shard.path());
      const int64_t elements = element_count(tensors_[static_cast<size_t>(key.first)]);
      const int64_t end = offset + tensor.elements;
      if (tensor.dtype != "F32" || tensor.shape.size() != 1 || end > elements) {
        throw Error(ExitCode::kData, shard.path() + ": \"" + name + "\" is " + tensor.dtype + " " +
                                         shape_text(tensor.shape) + ", which does not fit a tensor of " +
                                         std::to_string(elements) + " elements");
      }
      held_[key].push_back({offset, end});
      const auto wanted = wanted_.find(key);
      if (wanted == wanted_.end()) continue;
      for (const Wanted& w : wanted->second) {
        const int64_t from = std::max(offset, w.begin);
        const int64_t to = std::min(end, w.end);
        if (from >= to) continue;
        shard.read_floats(name, from - offset, std::span(w.values + (from - w.begin), static_cast<size_t>(to - from)));
      }
    }
  }

  /// Throws when pieces overlap or a wanted element was in none.
  void check_complete(const std::string& folder) {
    for (auto& [key, pieces] : held_) {
      std::sort(pieces.begin(), pieces.end());
      for (size_t i = 1; i < pieces.size(); ++i) {
        if (pieces[i].first < pieces[i - 1].second) fail(folder, key, pieces[i].first, pieces[i - 1].second, "twice");
      }
    }
    for (const auto& [key, ranges] : wanted_) {
      for (const Wanted& wanted : ranges) {
        int64_t position = wanted.begin;
        for (const auto& [begin, end] : held_[key]) {
          if (begin > position) break;
          position = std::max(position, end);
        }
        if (position < wanted.end) fail(folder, key, position, wanted.end, "not at all");
      }
    }
  }

 private:
  static constexpr const char* kFirst = "exp_avg/";
  static constexpr const char* kSecond = "exp_avg_sq/";
  struct Wanted {
    int64_t begin = 0;
    int64_t end = 0;
    float* values = nullptr;
  };
  using Key = std::pair<int, std::string>;  ///< tensor, kind

  static int64_t element_count(const SavedTensor& tensor) {
    int64_t count = 1;
    for (const int64_t dimension : tensor.shape) count *= dimension;
    return count;
  }

  /// "exp_avg/NAME@OFFSET"
  std::pair<Key, int64_t> parse_name(const std::string& name, const std::string& path) const {
    for (const std::string kind : {kFirst, kSecond}) {
      if (!name.starts_with(kind)) continue;
      const size_t at = name.rfind('@');
      if (at == std::string::npos || at < kind.size()) break;
      int64_t offset = -1;
      const auto [end, error] = std::from_chars(name.data() + at + 1, name.data() + name.size(), offset);
      const auto tensor = index_.find(name.substr(kind.size(), at - kind.size()));
      if (error != std::errc() || end != name.data() + name.size() || tensor == index_.end()) break;
      if (offset < 0 || offset > element_count(tensors_[static_cast<size_t>(tensor->second)])) break;
      return {{tensor->second, kind}, offset};
    }
    throw Error(ExitCode::kData, path + ": \"" + name + "\" is not part of the model's state");
  }

  [[noreturn]] void fail(const std::string& folder, const Key& key, int64_t from, int64_t to,
                         const std::string& what) const {
    throw Error(ExitCode::kData, folder + "/state: elements [" + std::to_string(from) + ", " + std::to_string(to) +
                                     ") of " + key.second + tensors_[static_cast<size_t>(key.first)].name +
                                     " are there " + what);
  }

  const std::vector<SavedTensor>& tensors_;
  std::map<std::string, int> index_;
  std::map<Key, std::vector<Wanted>> wanted_;
  std::map<Key, std::vector<std::pair<int64_t, int64_t>>> held_;
};

}  // namespace

RunState load_run_state(const std::string& checkpoint) {
  const Folder folder(checkpoint);
  const Manifest manifest = read_manifest(folder);
  RunState state = read_run_state(folder);
  if (state.step != manifest.step) {
    throw Error(ExitCode::kData, checkpoint + "/" + kRunFile + ": is of step " + std::to_string(state.step) +
                                     ", the manifest of step " + std::to_string(manifest.step));
  }
  return state;
}

RunState load_checkpoint(const std::string& checkpoint, const std::vector<SavedTensor>& tensors,
                         const std::vector<StateRange>& ranges) {
  RunState state = load_run_state(checkpoint);
  const Folder folder(checkpoint);
  const bool adapter = read_manifest(folder).files.contains(kAdapterFile);
  read_masters(SafetensorsFile(folder.open(adapter ? kAdapterFile : kModelFile)), tensors, ranges);
  const bool moments = std::any_of(ranges.begin(), ranges.end(), [](const StateRange& range) {
    return range.exp_avg != nullptr || range.exp_avg_sq != nullptr;
  });
  if (!moments) return state;
  MomentReader reader(tensors, ranges);
  const int world_size = read_manifest(folder).world_size;
  for (int rank = 0; rank < world_size; ++rank) {
    reader.read(SafetensorsFile(folder.open(shard_file(rank, world_size))));
  }
  reader.check_complete(checkpoint);
  return state;
}

}  // namespace tsugi
