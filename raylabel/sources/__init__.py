"""Where records come from: captions, KITTI folders, earlier annotations."""
