#include <glog/logging.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_directory.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/crc32c.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

/// A range of model.safetensors that some rank has written.
struct WrittenPiece {
  int64_t file_offset = 0;
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  uint32_t unused = 0;
};

/// What one rank tells of what it has written.
struct WrittenParts {
  std::vector<WrittenPiece> model;
  ManifestFile shard;

  std::string to_bytes() const {
    std::string bytes(sizeof(shard) + model.size() * sizeof(WrittenPiece), '\0');
    std::memcpy(bytes.data(), &shard, sizeof(shard));
    if (!model.empty()) std::memcpy(bytes.data() + sizeof(shard), model.data(), model.size() * sizeof(WrittenPiece));
    return bytes;
  }
  static WrittenParts from_bytes(const std::string& bytes) {
    CHECK(bytes.size() >= sizeof(ManifestFile) && (bytes.size() - sizeof(ManifestFile)) % sizeof(WrittenPiece) == 0);
    WrittenParts parts;
    parts.model.resize((bytes.size() - sizeof(ManifestFile)) / sizeof(WrittenPiece));
    std::memcpy(&parts.shard, bytes.data(), sizeof(parts.shard));
    if (!parts.model.empty()) {
      std::memcpy(parts.model.data(), bytes.data() + sizeof(parts.shard), parts.model.size() * sizeof(WrittenPiece));
    }
    return parts;
  }
};

bool entry_exists(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) return true;
  if (errno != ENOENT) throw file_error("stat", path);
  return false;
}

std::span<const std::byte> bytes_of(const float* values, int64_t count) {
  return std::as_bytes(std::span(values, static_cast<size_t>(count)));
}

SafetensorsLayout lay_out_model(const std::vector<SavedTensor>& tensors) {
  std::vector<SafetensorsSpec> specs;
  for (const SavedTensor& tensor : tensors) specs.push_back({tensor.name, "F32", tensor.shape});
  return lay_out_safetensors(specs);
}

std::vector<WrittenPiece> write_masters(File file, const SafetensorsLayout& layout,
                                        const std::vector<StateRange>& ranges) {
  std::vector<WrittenPiece> pieces;
  for (const StateRange& range : ranges) {
    if (range.length == 0) continue;
    const int64_t offset = layout.offsets[static_cast<size_t>(range.tensor)] + range.offset * 4;
    const uint32_t crc = file.write(offset, bytes_of(range.master, range.length));
    pieces.push_back({offset, range.length * 4, crc});
  }
  file.finish();
  return pieces;
}

ManifestFile write_shard(File file, const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges) {
  std::vector<SafetensorsSpec> specs;
  std::vector<const float*> data;
  for (const StateRange& range : ranges) {
    if (range.length == 0) continue;
    const std::string where = tensors[static_cast<size_t>(range.tensor)].name + "@" + std::to_string(range.offset);
    for (const auto& [kind, values] : {std::pair("exp_avg/", range.exp_avg), {"exp_avg_sq/", range.exp_avg_sq}}) {
      if (values == nullptr) continue;
      specs.push_back({kind + where, "F32", {range.length}});
      data.push_back(values);
    }
  }
  const SafetensorsLayout layout = lay_out_safetensors(specs);
  file.reserve(layout.file_bytes);
  // In the order of the file, so that one checksum runs through it.
  std::vector<size_t> order(specs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return layout.offsets[a] < layout.offsets[b]; });
  uint32_t crc = file.write(0, std::as_bytes(std::span(layout.header)));
  for (const size_t i : order) {
    const int64_t count = specs[i].shape[0];
    crc = crc32c_combine(crc, file.write(layout.offsets[i], bytes_of(data[i], count)), count * 4);
  }
  file.finish();
  return {layout.file_bytes, crc};
}

/// The checksum of model.safetensors from those of its pieces, which must cover it exactly.
ManifestFile join_model(const SafetensorsLayout& layout, std::vector<WrittenPiece> pieces) {
  std::sort(pieces.begin(), pieces.end(),
            [](const WrittenPiece& a, const WrittenPiece& b) { return a.file_offset < b.file_offset; });
  auto position = static_cast<int64_t>(layout.header.size());
  uint32_t crc = crc32c(std::as_bytes(std::span(layout.header)));
  for (const WrittenPiece& piece : pieces) {
    if (piece.file_offset != position) break;
    crc = crc32c_combine(crc, piece.crc32c, piece.bytes);
    position += piece.bytes;
  }
  if (position != layout.file_bytes) {
    throw Error(ExitCode::kInternal, "the ranks' ranges do not cover every element exactly once: first at byte " +
                                         std::to_string(position) + " of the weights");
  }
  return {layout.file_bytes, crc};
}

std::string run_text(const RunState& state) {
  CHECK_LE(state.next_sample, static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  return nlohmann::json{{"version", 1},
                        {"step", state.step},
                        {"next_sample", state.next_sample},
                        {"evaluation_due", state.evaluation_due},
                        {"config", state.config_text},
                        {"facts", nlohmann::json(state.facts)}}
             .dump(1) +
         "\n";
}

/// One checkpoint on its way. Every step is a function that one or all ranks run.
class Writing {
 public:
  Writing(RunLease lease, RunState state, std::string weights)
      : lease_(std::move(lease)),
        state_(std::move(state)),
        weights_(std::move(weights)),
        folder_(checkpoints_folder(lease_.directory)),
        partial_(folder_ + "/" + partial_name(state_.step, lease_.generation)),
        final_(folder_ + "/" + checkpoint_name(state_.step)) {}

  const std::string& partial() const { return partial_; }
  const std::string& final_path() const { return final_; }
  /// Name of the file of the masters.
  const std::string& weights() const { return weights_; }

  /// Throws when another attempt has taken over, or when the name is taken by what counts.
  void check_allowed() const {
    const Survey survey = survey_run(lease_.directory);
    const std::string step = std::to_string(state_.step);
    for (const Generation& later : survey.generations) {
      if (later.number > lease_.generation && later.start_step && *later.start_step <= state_.step) {
        throw Error(ExitCode::kData,
                    lease_.directory + ": attempt " + std::to_string(later.number) + " of this run began at step " +
                        std::to_string(*later.start_step) + "; this is attempt " + std::to_string(lease_.generation) +
                        ", which must not write step " + step + " any more",
                    "two jobs run in one directory: stop one");
      }
    }
    if (entry_exists(final_) && !superseded(survey)) {
      throw Error(ExitCode::kData, final_ + ": exists already; a checkpoint is never overwritten",
                  "resume from it, or choose another run directory");
    }
  }

  void create(const SafetensorsLayout& model, const std::map<std::string, std::string>& texts) {
    remove();
    for (const std::string& path : {partial_, partial_ + "/state"}) {
      if (::mkdir(path.c_str(), 0777) != 0) throw file_error("create folder", path);
    }
    const Folder folder(partial_);
    File file = folder.create(weights_);
    file.reserve(model.file_bytes);
    file.write(0, std::as_bytes(std::span(model.header)));
    file.finish();
    std::map<std::string, std::string> all = texts;
    all[kRunFile] = run_text(state_);
    for (const auto& [name, text] : all) {
      manifest_.files[name] = {static_cast<int64_t>(text.size()), folder.write_text(name, text)};
    }
  }

  void commit(const SafetensorsLayout& model, const std::vector<std::string>& parts_of_ranks) {
    manifest_.step = state_.step;
    manifest_.generation = lease_.generation;
    manifest_.world_size = static_cast<int>(parts_of_ranks.size());
    manifest_.config_crc32c = crc32c(std::as_bytes(std::span(state_.config_text)));
    std::vector<WrittenPiece> pieces;
    for (int rank = 0; rank < manifest_.world_size; ++rank) {
      const WrittenParts parts = WrittenParts::from_bytes(parts_of_ranks[static_cast<size_t>(rank)]);
      pieces.insert(pieces.end(), parts.model.begin(), parts.model.end());
      manifest_.files[shard_file(rank, manifest_.world_size)] = parts.shard;
    }
    manifest_.files[weights_] = join_model(model, std::move(pieces));
    sync_folder(partial_ + "/state");
    Folder(partial_).write_text(kManifestFile, manifest_text(manifest_));
    sync_folder(partial_);

    check_allowed();
    put_superseded_aside();
    // Onto a folder that is not empty rename fails, so nothing that somebody wrote meanwhile is lost.
    if (::rename(partial_.c_str(), final_.c_str()) != 0) throw file_error("rename " + partial_ + " to", final_);
    sync_folder(folder_);
  }

  /// After a failure; what cannot be removed now is removed by the next attempt.
  void abandon() const {
    try {
      remove();
    } catch (const Error& error) {
      LOG(WARNING) << error.what();
    }
  }

 private:
  void remove() const {
    std::error_code failure;
    std::filesystem::remove_all(partial_, failure);
    if (failure) throw Error(ExitCode::kInputOutput, "cannot remove " + partial_ + ": " + failure.message());
  }

  /// Whether what stands at this step's name does not count: this attempt began before this step, so anything of an
  /// older attempt there is void, and anything without a manifest does not exist.
  bool superseded(const Survey& survey) const {
    const Generation* own = survey.find(lease_.generation);
    if (own == nullptr || !own->start_step || *own->start_step >= state_.step) return false;
    try {
      return read_manifest(Folder(final_)).generation < lease_.generation;
    } catch (const Error&) {
      return true;
    }
  }

  void put_superseded_aside() const {
    if (!entry_exists(final_)) return;
    const std::string aside = folder_ + "/" + void_name(state_.step, lease_.generation);
    if (::rename(final_.c_str(), aside.c_str()) != 0) throw file_error("rename " + final_ + " to", aside);
    LOG(WARNING) << final_ << " did not count; it is now " << aside;
  }

  RunLease lease_;
  RunState state_;
  std::string weights_;
  std::string folder_;
  std::string partial_;
  std::string final_;
  Manifest manifest_;
};

void check_arguments(const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges,
                     const std::map<std::string, std::string>& texts) {
  for (const StateRange& range : ranges) {
    CHECK(range.tensor >= 0 && range.tensor < static_cast<int>(tensors.size())) << range.tensor;
    const SavedTensor& tensor = tensors[static_cast<size_t>(range.tensor)];
    const int64_t elements = std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
    CHECK(range.offset >= 0 && range.length >= 0 && range.length <= elements - range.offset) << tensor.name;
    CHECK(range.length == 0 || range.master != nullptr) << tensor.name;
  }
  for (const auto& [name, text] : texts) {
    check_file_name(name, "save_checkpoint");
    CHECK(name != kModelFile && name != kAdapterFile && name != kManifestFile && name.find('/') == std::string::npos)
        << name;
  }
}

}  // namespace

std::string add_saving(StagedWork& work, const Communicator& communicator, const RunLease& lease, RunState state,
                       std::vector<SavedTensor> tensors, std::vector<StateRange> ranges,
                       std::map<std::string, std::string> texts) {
  check_arguments(tensors, ranges, texts);
  // What the stages share; they run one after the other.
  struct Shared {
    Writing writing;
    SafetensorsLayout model;
    std::vector<SavedTensor> tensors;
    std::vector<StateRange> ranges;
    std::map<std::string, std::string> texts;
    WrittenParts mine;
    std::vector<std::string> parts;
  };
  const SafetensorsLayout model = lay_out_model(tensors);
  const std::string weights = texts.contains(kAdapterConfigFile) ? kAdapterFile : kModelFile;
  const auto shared = std::make_shared<Shared>(Shared{Writing(lease, std::move(state), weights),
                                                      model,
                                                      std::move(tensors),
                                                      std::move(ranges),
                                                      std::move(texts),
                                                      {},
                                                      {}});
  const int rank = communicator.rank();
  const int ranks = communicator.size();
  const bool root = rank == 0;
  work.add({[root, shared] {
              if (root) shared->writing.check_allowed();
            },
            [&work, root, shared](Communicator&) {
              work.on_failure([root, shared] {
                if (root) shared->writing.abandon();
              });
            }});
  work.add({[root, shared] {
    if (root) shared->writing.create(shared->model, shared->texts);
  }});
  work.add({[rank, ranks, shared] {
              const Folder folder(shared->writing.partial());
              shared->mine.shard = write_shard(folder.create(shard_file(rank, ranks)), shared->tensors, shared->ranges);
              shared->mine.model =
                  write_masters(folder.open_for_writing(shared->writing.weights()), shared->model, shared->ranges);
            },
            [shared](Communicator& all) { shared->parts = all.all_gather_strings(shared->mine.to_bytes()); }});
  work.add({[root, shared] {
              if (root) shared->writing.commit(shared->model, shared->parts);
            },
            [&work](Communicator&) { work.on_failure({}); }});
  return shared->writing.final_path();
}

std::string save_checkpoint(Communicator& communicator, const RunLease& lease, const RunState& state,
                            const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges,
                            const std::map<std::string, std::string>& texts) {
  StagedWork work;
  const std::string path = add_saving(work, communicator, lease, state, tensors, ranges, texts);
  work.run(communicator);
  return path;
}

}  // namespace tsugi
