#include "core/data/prepare/progress.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kMaxJsonBytes = int64_t{1} << 28;
constexpr const char* kRecords = "documents.scan";
constexpr const char* kBlocks = "blocks.scan";
constexpr const char* kScan = "scan.json";
constexpr const char* kProgress = "progress.json";
constexpr const char* kLock = "lock";

/// A BlockStart as it lies in the file.
using PackedBlock = std::array<int64_t, 5>;

PackedBlock pack(const BlockStart& block) {
  return {block.state.file, (block.state.inside ? 1 : 0) | (block.state.line_start ? 2 : 0), block.state.offset,
          block.state.line, block.document};
}
BlockStart unpack(const PackedBlock& packed) {
  BlockStart block;
  block.state.file = static_cast<uint32_t>(packed[0]);
  block.state.inside = (packed[1] & 1) != 0;
  block.state.line_start = (packed[1] & 2) != 0;
  block.state.offset = packed[2];
  block.state.line = packed[3];
  block.document = packed[4];
  return block;
}

/// Whether the blocks are those of a scan of so many files: in order, in the files, with the documents that it counted.
bool fits(const Scan& scan, size_t files) {
  BlockStart before;
  for (const BlockStart& block : scan.blocks) {
    const BlockState& state = block.state;
    if (state.file >= files || state.file < before.state.file || state.offset < 0 || state.line < 1) return false;
    if (block.document < before.document || block.document > scan.documents) return false;
    before = block;
  }
  return true;
}

/// Calls visit with the pieces of a file.
template <class Visit>
void read_pieces(const std::string& path, const Visit& visit) {
  const auto stream = InputStream::open(path);
  std::vector<char> piece(size_t{40} << 15);
  for (;;) {
    const size_t got = stream->read(piece);
    visit(std::as_bytes(std::span(piece).first(got)));
    if (got < piece.size()) return;
  }
}

uint32_t checksum_of(const std::string& path) {
  uint32_t checksum = 0;
  read_pieces(path, [&](std::span<const std::byte> bytes) { checksum = crc32c(bytes, checksum); });
  return checksum;
}

Json to_json(const SideState& side) {
  Json shards = Json::array();
  for (const ShardIndex::Shard& shard : side.shards) {
    shards.push_back({{"file", shard.file},
                      {"tokens", shard.tokens},
                      {"documents", shard.documents},
                      {"bytes", shard.bytes},
                      {"crc32c", shard.crc32c}});
  }
  return {{"shards", std::move(shards)},
          {"tokens", side.current.tokens},
          {"documents", side.current.documents},
          {"token_checksum", side.current.token_checksum},
          {"start_checksum", side.current.start_checksum},
          {"written", {side.written.documents, side.written.tokens, side.written.bytes}}};
}

/// `name`: with which the names of the side's files begin; they lie in the work folder and nowhere else.
SideState side_of(const JsonValue& json, const std::string& name) {
  constexpr int64_t kMax32 = 0xFFFFFFFF;
  SideState side;
  for (const JsonValue& one : json.require_array("shards").elements()) {
    side.shards.push_back({one.require_string("file"), one.require_int("tokens", 1), one.require_int("documents", 0),
                           one.require_int("bytes", 1), static_cast<uint32_t>(one.require_int("crc32c", 0, kMax32))});
    const std::string& file = side.shards.back().file;
    if (!file.starts_with(name) || file.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
      throw one.require("file").error("is no file of " + name);
    }
  }
  side.current.tokens = json.require_int("tokens", 0);
  side.current.documents = json.require_int("documents", 0);
  side.current.token_checksum = static_cast<uint32_t>(json.require_int("token_checksum", 0, kMax32));
  side.current.start_checksum = static_cast<uint32_t>(json.require_int("start_checksum", 0, kMax32));
  const JsonValue written = json.require_array("written");
  side.written = {written.at(0).as_int(0), written.at(1).as_int(0), written.at(2).as_int(0)};
  return side;
}

}  // namespace

WorkFolder::WorkFolder(const std::string& output) : output_(output), folder_((fs::path(output) / ".work").string()) {
  made_output_ = !fs::exists(output_);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw Error(ExitCode::kInputOutput, "cannot make " + folder_ + ": " + error.message());
  lock_ = ::open(path(kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw file_error("open", path(kLock));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  const bool held = errno == EWOULDBLOCK;
  const Error failure = file_error("lock", path(kLock));
  ::close(lock_);
  if (!held) throw failure;
  throw Error(ExitCode::kUsage, output_ + ": another process is preparing into this folder",
              "wait for it, or choose another --out");
}

WorkFolder::~WorkFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void WorkFolder::begin(uint64_t key) {
  key_ = std::to_string(key);
  bool same = false;
  try {
    same = fs::exists(path("key")) && read_file(path("key"), 100) == key_;
  } catch (const Error&) {
    same = false;  // what cannot be read is thrown away with the rest
  }
  if (same) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    if (entry.path().filename() != kLock) fs::remove_all(entry.path());
  }
  write_file_durably(path("key"), key_);
}

std::optional<Scan> WorkFolder::load_scan(size_t files) const {
  if (!fs::exists(path(kScan))) return std::nullopt;
  try {
    const JsonValue json = read_json(path(kScan), kMaxJsonBytes);
    Scan scan;
    scan.documents = json.require_int("documents", 0);
    scan.validation_documents = json.require_int("validation_documents", 0, scan.documents);
    scan.empty = json.require_int("empty", 0);
    for (const JsonValue& one : json.require_array("code_points").elements()) {
      scan.code_points.push_back(static_cast<char32_t>(one.as_int(0, 0x10FFFF)));
    }
    const int64_t largest = INT64_MAX / static_cast<int64_t>(sizeof(DocumentRecord));
    if (scan.documents > largest || static_cast<int64_t>(fs::file_size(path(kRecords))) !=
                                        scan.documents * static_cast<int64_t>(sizeof(DocumentRecord))) {
      return std::nullopt;
    }
    if (checksum_of(path(kRecords)) != json.require_int("records_checksum") ||
        checksum_of(path(kBlocks)) != json.require_int("blocks_checksum")) {
      return std::nullopt;
    }
    read_pieces(path(kBlocks), [&](std::span<const std::byte> bytes) {
      for (size_t i = 0; i + sizeof(PackedBlock) <= bytes.size(); i += sizeof(PackedBlock)) {
        PackedBlock packed;
        std::memcpy(&packed, bytes.data() + i, sizeof(packed));
        scan.blocks.push_back(unpack(packed));
      }
    });
    if (!fits(scan, files)) return std::nullopt;
    return scan;
  } catch (const Error&) {
    return std::nullopt;  // it is made anew
  } catch (const fs::filesystem_error&) {
    return std::nullopt;
  }
}

void WorkFolder::save_scan(const Scan& scan) const {
  {
    DurableFile blocks(path(kBlocks));
    std::vector<PackedBlock> packed;
    for (const BlockStart& block : scan.blocks) packed.push_back(pack(block));
    blocks.write(std::as_bytes(std::span(packed)));
    blocks.commit();
  }
  Json json{{"documents", scan.documents},
            {"validation_documents", scan.validation_documents},
            {"empty", scan.empty},
            {"records_checksum", checksum_of(path(kRecords))},
            {"blocks_checksum", checksum_of(path(kBlocks))}};
  json["code_points"] = Json::array();
  for (const char32_t point : scan.code_points) json["code_points"].push_back(static_cast<uint32_t>(point));
  write_file_durably(path(kScan), json.dump());
}

std::optional<EncodeState> WorkFolder::load_progress() const {
  if (!fs::exists(path(kProgress))) return std::nullopt;
  try {
    const JsonValue json = read_json(path(kProgress), kMaxJsonBytes);
    EncodeState state;
    state.next_block = json.require_int("next_block", 0);
    state.finished = json.require_bool("finished");
    state.sides = {side_of(json.require_object("train"), "train"),
                   side_of(json.require_object("validation"), "validation")};
    const JsonValue longest = json.require_object("longest");
    state.longest = {longest.require_int("tokens", 0), longest.require_int("bytes", 0),
                     longest.require_string("place")};
    return state;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void WorkFolder::save_progress(const EncodeState& state) const {
  const Json json{
      {"next_block", state.next_block},
      {"finished", state.finished},
      {"train", to_json(state.sides[0])},
      {"validation", to_json(state.sides[1])},
      {"longest", {{"tokens", state.longest.tokens}, {"bytes", state.longest.bytes}, {"place", state.longest.place}}}};
  write_file_durably(path(kProgress), json.dump());
}

void WorkFolder::discard_progress() const {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name != kLock && name != "key" && !name.ends_with("scan") && name != kScan) fs::remove_all(entry.path());
  }
}

void WorkFolder::remove() {
  std::error_code ignored;  // what is left costs space only
  fs::remove_all(folder_, ignored);
  if (made_output_) fs::remove(output_, ignored);
}

}  // namespace tsugi
