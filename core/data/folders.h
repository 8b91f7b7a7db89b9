// Folders that commands write into.
#pragma once

#include <string>

namespace tsugi {

/// Makes the folder, and those above it. One that is there already is none the worse. Throws Error(kInputOutput) naming
/// the path and the reason: a file stands in its place, a disk is full, nobody may write there.
void make_folders(const std::string& path);

}  // namespace tsugi
