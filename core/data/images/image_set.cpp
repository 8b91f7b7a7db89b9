#include "core/data/images/image_set.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/data/file.h"
#include "core/data/images/idx.h"
#include "core/data/input_stream.h"
#include "core/data/json.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kClassesBytes = int64_t{1} << 24;
constexpr int64_t kCaptionsBytes = int64_t{1} << 32;
constexpr size_t kCaptionBytes = size_t{1} << 16;

Error image_error(const std::string& where, const std::string& reason, const std::string& hint = {}) {
  return Error(ExitCode::kData, where + ": " + reason, hint);
}

std::string size_text(const ImageSet& set) {
  return std::to_string(set.width) + "x" + std::to_string(set.height) + " pixels";
}

/// `text` with the last `from` replaced; empty when there is none.
std::string replace_last(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.rfind(from);
  if (at == std::string::npos) return {};
  return text.replace(at, from.size(), to);
}

/// The labels file of an images file: compressed or not, whatever the images are.
std::string labels_beside(const std::string& images) {
  const fs::path path(images);
  std::string name = replace_last(without_compression(path.filename().string()), "images", "labels");
  if (name.empty()) return {};
  for (const char* extents : {"idx3", "idx4"}) {
    if (const std::string other = replace_last(name, extents, "idx1"); !other.empty()) name = other;
  }
  for (const char* suffix : {"", ".gz", ".zst"}) {
    const fs::path candidate = path.parent_path() / (name + suffix);
    if (fs::is_regular_file(candidate)) return candidate.string();
  }
  return {};
}

void read_idx_labels(const std::string& path, const std::string& classes, ImageSet& set) {
  const IdxArray array = read_idx_array(path, set.count());
  if (array.extents.size() != 1 || array.extents[0] != set.count()) {
    throw image_error(path,
                      "must hold one label for each of the " + std::to_string(set.count()) + " images of " + set.name);
  }
  set.labels.assign(array.bytes.begin(), array.bytes.end());
  int32_t largest = 0;
  for (const int32_t label : set.labels) largest = std::max(largest, label);
  if (fs::is_regular_file(classes)) {
    for (const JsonValue& name : read_json(classes, kClassesBytes).elements()) set.classes.push_back(name.as_string());
    if (set.classes.size() <= static_cast<size_t>(largest)) {
      throw image_error(classes, "names " + std::to_string(set.classes.size()) + " classes, but " + path +
                                     " has the label " + std::to_string(largest));
    }
  } else {
    for (int32_t label = 0; label <= largest; ++label) set.classes.push_back(std::to_string(label));
  }
}

/// Where the captions of an images file would be; empty when its name does not say that it is one.
std::string captions_beside(const std::string& images) {
  const fs::path path(images);
  const std::string name = path.filename().string();
  const size_t at = name.rfind("images");
  if (at == std::string::npos) return {};
  return (path.parent_path() / (name.substr(0, at) + "captions.txt")).string();
}

ImageSet read_idx_images(const std::string& path, const ImageLimits& limits) {
  IdxArray array = read_idx_array(path, limits.total_bytes);
  const size_t rank = array.extents.size();
  if (rank != 3 && rank != 4) {
    throw image_error(path, "has " + std::to_string(rank) + " extents; images have 3, or 4 with channels");
  }
  ImageSet set;
  set.name = path;
  set.height = array.extents[1];
  set.width = array.extents[2];
  set.channels = rank == 4 ? array.extents[3] : 1;
  if (set.channels != 1 && set.channels != 3) {
    throw image_error(path, "has " + std::to_string(set.channels) + " channels, not 1 or 3");
  }
  if (array.extents[0] < 1 || set.height < 1 || set.width < 1) throw image_error(path, "holds no image");
  if (set.height * set.width > limits.pixels) {
    throw image_error(path, "has images of " + size_text(set) + "; the limit is " + std::to_string(limits.pixels));
  }
  set.pixels = std::move(array.bytes);
  if (const std::string labels = labels_beside(path); !labels.empty()) {
    read_idx_labels(labels, (fs::path(path).parent_path() / "classes.json").string(), set);
  }
  if (const std::string captions = captions_beside(path); fs::is_regular_file(captions)) {
    set.captions = read_captions(captions, set.count());
  }
  return set;
}

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

/// Names in a folder, sorted by their bytes.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    entries.push_back(it->path());
  }
  if (failed)
    throw Error(ExitCode::kInputOutput, "cannot read the folder " + folder.string() + ": " + failed.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// Grey pictures as coloured ones.
std::vector<uint8_t> with_colours(const std::vector<uint8_t>& grey) {
  std::vector<uint8_t> pixels;
  pixels.reserve(3 * grey.size());
  for (const uint8_t value : grey) pixels.insert(pixels.end(), 3, value);
  return pixels;
}

class FolderReader {
 public:
  FolderReader(std::string folder, const ImageLimits& limits) : limits_(limits) { set_.name = std::move(folder); }

  void add(const fs::path& path) {
    const std::string file = read_file(path.string(), limits_.file_bytes);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(file.data());
    ImageSet one = decode_image({bytes, file.size()}, path.string(), limits_);
    if (set_.channels == 0) {
      set_.height = one.height;
      set_.width = one.width;
      set_.channels = one.channels;
      first_ = path.string();
    }
    if (one.height != set_.height || one.width != set_.width) {
      throw image_error(path.string(), "has " + size_text(one) + ", but " + first_ + " has " + size_text(set_),
                        "bring all images to one size first, for example with: mogrify -resize " +
                            std::to_string(set_.width) + "x" + std::to_string(set_.height) + "! FILES");
    }
    if (one.channels != set_.channels) {
      std::vector<uint8_t>& grey = one.channels == 1 ? one.pixels : set_.pixels;
      grey = with_colours(grey);
      set_.channels = 3;
    }
    if (static_cast<int64_t>(set_.pixels.size() + one.pixels.size()) > limits_.total_bytes) {
      throw image_error(set_.name, "holds more than " + std::to_string(limits_.total_bytes) + " bytes of pixels");
    }
    set_.pixels.insert(set_.pixels.end(), one.pixels.begin(), one.pixels.end());
  }

  void add_class(const fs::path& folder) {
    const auto label = static_cast<int32_t>(set_.classes.size());
    set_.classes.push_back(folder.filename().string());
    const int64_t before = set_.count();
    for (const fs::path& path : entries_of(folder)) {
      if (is_picture(path)) add(path);
    }
    if (set_.count() == before) throw image_error(folder.string(), "has no .png, .jpg or .jpeg files");
    set_.labels.resize(static_cast<size_t>(set_.count()), label);
  }

  ImageSet finish() {
    if (set_.count() == 0) throw image_error(set_.name, "has no .png, .jpg or .jpeg files");
    return std::move(set_);
  }

 private:
  ImageLimits limits_;
  ImageSet set_;
  std::string first_;
};

}  // namespace

ImageSet read_images(const std::string& path, const ImageLimits& limits) {
  if (!fs::is_directory(path)) return read_idx_images(path, limits);
  FolderReader reader(path, limits);
  const std::vector<fs::path> entries = entries_of(path);
  const bool has_classes =
      std::any_of(entries.begin(), entries.end(), [](const fs::path& p) { return fs::is_directory(p); });
  for (const fs::path& entry : entries) {
    if (has_classes && fs::is_directory(entry)) reader.add_class(entry);
    if (has_classes && is_picture(entry)) {
      throw image_error(entry.string(), "lies beside folders of classes: it has no class");
    }
    if (!has_classes && is_picture(entry)) reader.add(entry);
  }
  return reader.finish();
}

std::vector<std::string> read_captions(const std::string& path, int64_t images) {
  const std::string text = read_file(path, kCaptionsBytes);
  std::vector<std::string> captions;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    const std::string where = path + ":" + std::to_string(captions.size() + 1);
    if (line.empty()) throw image_error(where, "an empty caption");
    if (line.size() > kCaptionBytes) {
      throw image_error(where, "a caption of " + std::to_string(line.size()) + " bytes; the limit is " +
                                   std::to_string(kCaptionBytes));
    }
    if (valid_utf8_prefix(line) != line.size()) throw image_error(where, "is not UTF-8");
    captions.push_back(std::move(line));
    begin = end + 1;
  }
  if (static_cast<int64_t>(captions.size()) != images) {
    throw image_error(path, "has " + std::to_string(captions.size()) + " lines, but must have " +
                                std::to_string(images) + ", a caption on each");
  }
  return captions;
}

void write_idx(const ImageSet& set, const std::string& folder, const std::string& stem) {
  IdxArray images{{set.count(), set.height, set.width}, set.pixels};
  if (set.channels > 1) images.extents.push_back(set.channels);
  const std::string extents = std::to_string(images.extents.size());
  if (!set.labels.empty()) {
    IdxArray labels{{set.count()}, {}};
    for (const int32_t label : set.labels) {
      if (label < 0 || label > 255) {
        throw image_error(set.name, "has more than 256 classes, which IDX labels cannot hold");
      }
      labels.bytes.push_back(static_cast<uint8_t>(label));
    }
    write_idx_array(labels, folder + "/" + stem + "-labels-idx1-ubyte");
    write_file_durably(folder + "/classes.json", nlohmann::json(set.classes).dump() + "\n");
  }
  if (!set.captions.empty()) {
    std::string text;
    for (const std::string& caption : set.captions) text += caption + "\n";
    write_file_durably(folder + "/" + stem + "-captions.txt", text);
  }
  write_idx_array(images, folder + "/" + stem + "-images-idx" + extents + "-ubyte");
}

std::string find_idx(const std::string& folder, const std::string& stem) {
  for (const char* extents : {"3", "4"}) {
    for (const char* suffix : {"", ".gz"}) {
      const std::string path = folder + "/" + stem + "-images-idx" + extents + "-ubyte" + suffix;
      if (fs::is_regular_file(path)) return path;
    }
  }
  return {};
}

ImageSet select_images(const ImageSet& set, std::span<const int64_t> indices) {
  ImageSet part{set.name, set.height, set.width, set.channels, {}, {}, set.classes};
  part.pixels.reserve(indices.size() * static_cast<size_t>(set.image_bytes()));
  for (const int64_t index : indices) {
    const std::span<const uint8_t> image = set.image(index);
    part.pixels.insert(part.pixels.end(), image.begin(), image.end());
    if (!set.labels.empty()) part.labels.push_back(set.labels[static_cast<size_t>(index)]);
    if (!set.captions.empty()) part.captions.push_back(set.captions[static_cast<size_t>(index)]);
  }
  return part;
}

}  // namespace tsugi
