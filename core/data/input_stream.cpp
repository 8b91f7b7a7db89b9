#include "core/data/input_stream.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kCompressedBuffer = size_t{1} << 17;
constexpr int kWindowLog = 27;  // zstd's own limit without --long

/// The file itself.
class PlainStream : public InputStream {
 public:
  explicit PlainStream(const std::string& path) : path_(path) {
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw file_error("open", path);
    struct stat status{};
    const bool known = ::fstat(descriptor_, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
      ::close(descriptor_);
      throw Error(ExitCode::kInputOutput, "cannot read " + path + ": not a regular file");
    }
    ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~PlainStream() override { ::close(descriptor_); }
  PlainStream(const PlainStream&) = delete;
  PlainStream& operator=(const PlainStream&) = delete;

  size_t read(std::span<char> out) override {
    size_t size = 0;
    while (size < out.size()) {
      const ssize_t got = ::pread(descriptor_, out.data() + size, out.size() - size, offset_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw file_error("read", path_);
      if (got == 0) break;
      size += static_cast<size_t>(got);
      offset_ += got;
    }
    return size;
  }
  void skip_to(int64_t offset) override { offset_ = offset; }
  int64_t consumed() const override { return offset_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
  off_t offset_ = 0;
};

/// What decompressors share: compressed bytes at hand, and skipping.
class CompressedStream : public InputStream {
 public:
  explicit CompressedStream(const std::string& path) : file_(path), buffer_(kCompressedBuffer) {}

  void skip_to(int64_t offset) override {
    CHECK_GE(offset, position_) << file_.path();
    std::vector<char> thrown_away(kCompressedBuffer);
    while (position_ < offset) {
      const auto wanted = std::min<int64_t>(offset - position_, kCompressedBuffer);
      if (read({thrown_away.data(), static_cast<size_t>(wanted)}) < static_cast<size_t>(wanted)) {
        throw error("the file became shorter while it was read");
      }
    }
  }
  size_t read(std::span<char> out) final {
    const size_t size = decompress(out);
    position_ += static_cast<int64_t>(size);
    return size;
  }
  int64_t consumed() const override { return file_.consumed(); }

 protected:
  virtual size_t decompress(std::span<char> out) = 0;

  /// More compressed bytes, if there are any.
  std::span<char> refill() { return std::span(buffer_).first(file_.read(buffer_)); }
  Error error(const std::string& reason) const { return Error(ExitCode::kData, file_.path() + ": " + reason); }
  Error truncated() const { return error("truncated: the compressed data ends in the middle"); }

 private:
  PlainStream file_;
  std::vector<char> buffer_;
  int64_t position_ = 0;
};

class GzipStream : public CompressedStream {
 public:
  explicit GzipStream(const std::string& path) : CompressedStream(path) {
    CHECK_EQ(inflateInit2(&state_, 15 + 16), Z_OK);  // gzip frames only
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

 protected:
  size_t decompress(std::span<char> out) override {
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(out.size());
    CHECK_EQ(state_.avail_out, out.size());
    while (state_.avail_out > 0) {
      // A full output may have left something inside the decoder: ask it before reading more.
      if (state_.avail_in == 0 && !flushing_) {
        const std::span<char> more = refill();
        if (more.empty()) {
          if (inside_ || !any_) throw truncated();
          break;
        }
        state_.next_in = reinterpret_cast<Bytef*>(more.data());
        state_.avail_in = static_cast<uInt>(more.size());
      }
      inside_ = true;
      any_ = true;
      const uInt before = state_.avail_out;
      const int result = inflate(&state_, Z_NO_FLUSH);
      flushing_ = result == Z_OK && state_.avail_out == 0 && before > 0;
      if (result == Z_STREAM_END) {
        inside_ = false;  // the end, or another member
        inflateReset(&state_);
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw error(std::string("not valid gzip data: ") + (state_.msg != nullptr ? state_.msg : "damaged"));
      }
    }
    return out.size() - state_.avail_out;
  }

 private:
  z_stream state_{};
  bool inside_ = false;
  bool any_ = false;
  bool flushing_ = false;
};

class ZstdStream : public CompressedStream {
 public:
  explicit ZstdStream(const std::string& path) : CompressedStream(path), state_(ZSTD_createDStream()) {
    CHECK(state_ != nullptr);
    ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, kWindowLog);
  }
  ~ZstdStream() override { ZSTD_freeDStream(state_); }
  ZstdStream(const ZstdStream&) = delete;
  ZstdStream& operator=(const ZstdStream&) = delete;

 protected:
  size_t decompress(std::span<char> out) override {
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    while (target.pos < target.size) {
      const size_t before = target.pos;
      if (input_.pos == input_.size && !flushing_) {
        const std::span<char> more = refill();
        if (more.empty()) {
          if (inside_ || !any_) throw truncated();
          break;
        }
        input_ = {more.data(), more.size(), 0};
      }
      any_ = true;
      const size_t result = ZSTD_decompressStream(state_, &target, &input_);
      if (ZSTD_isError(result)) throw error(std::string("not valid zstd data: ") + ZSTD_getErrorName(result));
      inside_ = result != 0;
      flushing_ = inside_ && target.pos == target.size && target.pos > before;
    }
    return target.pos;
  }

 private:
  ZSTD_DStream* state_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool inside_ = false;
  bool any_ = false;
  bool flushing_ = false;
};

}  // namespace

std::unique_ptr<InputStream> InputStream::open(const std::string& path) {
  if (path.ends_with(".gz")) return std::make_unique<GzipStream>(path);
  if (path.ends_with(".zst")) return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

std::string without_compression(const std::string& path) {
  for (const char* suffix : {".gz", ".zst"}) {
    const std::string_view end(suffix);
    if (path.ends_with(end)) return path.substr(0, path.size() - end.size());
  }
  return path;
}

}  // namespace tsugi
