//! Writes the seeds that are messages of this release into `fuzz/seeds/`.

use std::{fs, io};

use holdfast_fuzz::seeds;

fn main() -> io::Result<()> {
    for (target, name, bytes) in seeds::made() {
        let folder = seeds::folder(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
