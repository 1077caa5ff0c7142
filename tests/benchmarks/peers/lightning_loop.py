"""Lightning: `Trainer.fit` of a `LightningModule`."""

import protocol
import torch_models


def train(name, every, num_rounds, at_pause):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = torch_models.make(name)

        def training_step(self, batch, index):
            loss = torch_models.loss_of(self.model, batch)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch_models.optimizer_of(self.model)

    class Pause(lightning.Callback):
        def on_train_start(self, trainer, module):
            at_pause()

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if (index + 1) % every == 0:
                at_pause()

    lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=500,
        callbacks=[Pause()],
    ).fit(Module(), torch_models.Batches(name, every * num_rounds))


if __name__ == "__main__":
    protocol.answer(torch_models.make_raw, train)
