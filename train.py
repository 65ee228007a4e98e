"""Train a refiner: ``python train.py --help``."""

from posefix.cli.train import train

if __name__ == "__main__":
    train(prog_name="train.py")
